//! Opens a bundle as a [`System`].

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::AtomicUsize,
};

use serde_json::{Map, Value};

use super::{
    System, SystemBuilder,
    builder::MissingParts,
    features::load_features,
    scorers::{ScorerChoice, load_scorers, scorer_files},
    verifier::{BundleVerifier, load_verifier},
};
#[cfg(feature = "remote")]
use crate::scorers::{ScorerKind, openai};
use crate::{
    Result,
    hub::{Bundle, cache::unmarked_revision, description::GeneratorFamily},
    loading::{LoadReport, Loader},
    pipelines::{
        Family, flexar::FlexArFamily, hart::HartFamily, infinity::InfinityFamily,
        switti::SwittiFamily, var::VarFamily,
    },
    scorers::ScorerMix,
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

/// Opens all parts of a system except those of which files are missing.
pub(super) fn load(
    builder: &SystemBuilder,
    bundle: Bundle,
    scorers: &ScorerChoice,
    loader: &Loader,
    missing: MissingParts,
) -> Result<System> {
    let resident = !builder.evict;
    let mut report = LoadReport::default();
    let family = family(bundle.description.generator.family);
    let generator = family.load(&bundle, loader, resident, &mut report)?;
    let (mut loaded, scorer_networks) = match missing.scorers.is_empty() {
        true => load_scorers(
            &scorers.all,
            &scorer_files(&bundle, &scorers.all)?,
            loader,
            &builder.scorer_settings(),
            resident,
            &mut report,
        )?,
        false => (vec![], vec![]),
    };
    let held_out = loaded.split_off(scorers.searching.min(loaded.len()));
    let (features, extractors) = match missing.features.is_empty() {
        true => load_features(&bundle, loader, resident, &mut report)?,
        false => (None, BTreeMap::new()),
    };
    let verifier = load_verifier(&bundle, loader, &loaded, resident, &mut report)?;
    note_revisions(&mut report);
    let asked = asked(builder, &scorers.all)?;
    Ok(System {
        model: builder.model_name().to_owned(),
        description: bundle.description,
        family,
        dtype: loader.dtype,
        text_dtype: loader.text_dtype,
        device: loader.device.clone(),
        progress: loader.progress.clone(),
        missing,
        prompts_ahead: AtomicUsize::new(0),
        generator,
        scorer_mix: builder.scorer.clone(),
        asked,
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

/// What records say of the vision server that one of the scorers asks; empty without such a scorer.
#[cfg(feature = "remote")]
fn asked(builder: &SystemBuilder, scorers: &ScorerMix) -> Result<Map<String, Value>> {
    let asks = |kind: &&ScorerKind| kind.release.family == openai::KIND.release.family;
    match scorers.kinds().iter().any(asks) {
        true => Ok(builder.server.clone().or_environment()?.recorded()),
        false => Ok(Map::new()),
    }
}

#[cfg(not(feature = "remote"))]
fn asked(_: &SystemBuilder, _: &ScorerMix) -> Result<Map<String, Value>> {
    Ok(Map::new())
}
