//! The scorers of a bundle, or released ones by themselves, without the rest of a system.

use std::path::Path;

use candle_core::{DType, Device};

use super::{
    DEMO, find,
    judge::{LoadedScorer, judges},
    judging::{Name, ScorerMix},
    reader::{Kept, Noted},
};
use crate::{
    Result,
    hub::{self, ScorerFiles, bundle::FILE, description::ScorerFamily},
};

/// What is wanted, or the usual scorer of a bundle.
pub(super) fn usual_judging(
    bundle: &hub::Bundle,
    judging: Option<&ScorerMix>,
) -> Result<ScorerMix> {
    match judging {
        Some(judging) => Ok(judging.clone()),
        None => Ok(ScorerMix::by(Name::usual(bundle.usual_scorer()?))),
    }
}

pub(super) fn scorer_files(bundle: &hub::Bundle, judging: &ScorerMix) -> Result<Vec<ScorerFiles>> {
    judging
        .families()
        .into_iter()
        .map(|family| bundle.scorer(family))
        .collect()
}

/// Where the scorers of a bundle, or released ones by themselves, are.
pub struct Scorers {
    judging: ScorerMix,
    files: Vec<ScorerFiles>,
    /// Whether the demo's own scorer is among them.
    pub of_demo: bool,
}

impl Scorers {
    /// The scorers that are wanted: of the bundle `model` ([`find`]); without a name the released
    /// ones in the folder `weights`, or the demo's.
    ///
    /// # Errors
    /// There is no such bundle or folder, or the bundle has no such scorer.
    pub fn find(
        model: Option<&str>,
        weights: Option<&Path>,
        judging: Option<&ScorerMix>,
    ) -> Result<Self> {
        if let (None, Some(folder)) = (model, weights.filter(|folder| !folder.join(FILE).exists()))
        {
            let usual = ScorerMix::by(Name::usual(ScorerFamily::ImageReward));
            let judging = judging.cloned().unwrap_or(usual);
            let files = judging
                .families()
                .into_iter()
                .map(|family| ScorerFiles::released(family, folder));
            return Ok(Self {
                files: files.collect::<Result<_>>()?,
                judging,
                of_demo: false,
            });
        }
        let bundle = find(model.unwrap_or(DEMO), weights)?;
        let judging = usual_judging(&bundle, judging)?;
        let files = scorer_files(&bundle, &judging)?;
        Ok(Self {
            judging,
            files,
            of_demo: weights.is_none() && model.unwrap_or(DEMO) == DEMO,
        })
    }

    /// What was asked for.
    pub fn judging(&self) -> &ScorerMix {
        &self.judging
    }

    /// Files that are not there, each with where it is published if that is known.
    pub fn missing(&self) -> Vec<String> {
        self.files.iter().flat_map(ScorerFiles::missing).collect()
    }

    /// Loads them.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn open(&self, dtype: DType, device: &Device) -> Result<Vec<LoadedScorer>> {
        let kept = Kept {
            dtype,
            device: device.clone(),
        };
        Ok(judges(
            &self.judging,
            &self.files,
            &kept,
            true,
            &mut Noted::default(),
        )?
        .0)
    }
}
