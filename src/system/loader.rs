//! Loads a bundle into a [`System`].

use std::{collections::BTreeSet, path::Path};

use super::{
    System, SystemBuilder,
    features::load_features,
    scorers::{ScorerChoice, load_scorers, scorer_files},
    verifier::{BundleVerifier, load_verifier},
};
use crate::{
    Result,
    hub::{Bundle, cache::unmarked_revision, description::GeneratorFamily},
    loading::{LoadReport, Loader},
    pipelines::{
        Family, flexar::FlexArFamily, hart::HartFamily, infinity::InfinityFamily,
        switti::SwittiFamily, var::VarFamily,
    },
};

/// The implementation of a family of generators.
pub fn family(family: GeneratorFamily) -> &'static dyn Family {
    match family {
        GeneratorFamily::Infinity => &InfinityFamily,
        GeneratorFamily::Var => &VarFamily,
        GeneratorFamily::Hart => &HartFamily,
        GeneratorFamily::Switti => &SwittiFamily,
        GeneratorFamily::FlexAr => &FlexArFamily { classes: false },
        GeneratorFamily::FlexArClass => &FlexArFamily { classes: true },
    }
}

/// Notes files that were read from one of several revisions in a cache.
pub(super) fn note_revisions(report: &mut LoadReport) {
    let files = report.files.iter();
    let notes = files.filter_map(|file| unmarked_revision(Path::new(file)));
    let notes: BTreeSet<String> = notes.collect();
    report.notes.extend(notes);
}

/// Loads all parts of a system.
pub(super) fn load(
    builder: &SystemBuilder,
    bundle: Bundle,
    scorers: &ScorerChoice,
    loader: &Loader,
) -> Result<System> {
    let resident = !builder.evict;
    let mut report = LoadReport::default();
    let family = family(bundle.description.generator.family);
    let generator = family.load(&bundle, loader, resident, &mut report)?;
    let files = scorer_files(&bundle, &scorers.all)?;
    let (mut loaded, scorer_networks) = load_scorers(
        &scorers.all,
        &files,
        loader,
        &builder.scorer_settings(),
        resident,
        &mut report,
    )?;
    let held_out = loaded.split_off(scorers.searching);
    let (features, extractors) = load_features(&bundle, loader, resident, &mut report)?;
    let verifier = load_verifier(&bundle, loader, &loaded, resident, &mut report)?;
    note_revisions(&mut report);
    Ok(System {
        model: builder.model_name().to_owned(),
        description: bundle.description,
        family,
        dtype: loader.dtype,
        device: loader.device.clone(),
        generator,
        scorer_mix: builder.scorer.clone(),
        usual_method: scorers.usual_method,
        state_dict: builder.state_dict.clone(),
        scorers: loaded,
        held_out,
        scorer_networks,
        features,
        extractors,
        hidden_block: verifier.as_ref().and_then(BundleVerifier::hidden_block),
        verifier,
        report,
    })
}
