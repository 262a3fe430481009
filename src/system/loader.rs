//! Loads a bundle into a [`System`].

use super::{
    System, SystemBuilder,
    features::load_features,
    scorers::{load_scorers, scorer_files},
};
use crate::{
    Result,
    hub::{Bundle, description::GeneratorFamily},
    loading::{LoadReport, Loader},
    pipelines::{Family, infinity::InfinityFamily},
    scorers::ScorerMix,
};

/// The implementation of a family of generators.
pub fn family(family: GeneratorFamily) -> &'static dyn Family {
    match family {
        GeneratorFamily::Infinity => &InfinityFamily,
    }
}

/// Loads all parts of a system.
pub(super) fn load(
    builder: &SystemBuilder,
    bundle: Bundle,
    mix: &ScorerMix,
    loader: &Loader,
) -> Result<System> {
    let resident = !builder.evict;
    let mut report = LoadReport::default();
    let family = family(bundle.description.generator.family);
    let generator = family.load(&bundle, loader, resident, &mut report)?;
    let files = scorer_files(&bundle, mix)?;
    let (scorers, scorer_networks) = load_scorers(mix, &files, loader, resident, &mut report)?;
    let (features, extractors) = load_features(&bundle, loader, resident, &mut report)?;
    Ok(System {
        model: builder.model_name().to_owned(),
        description: bundle.description,
        family,
        dtype: loader.dtype,
        device: loader.device.clone(),
        generator,
        scorer_mix: builder.scorer.clone(),
        scorers,
        scorer_networks,
        features,
        extractors,
        report,
    })
}
