//! What a search works with: a generator, scorers, features.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    Error, Image, Result,
    features::{Extractor, Features},
    mixer::WeightedScorer,
    pipeline::{DecodeSize, Pipeline},
    plan::Plan,
    scorer::Scorer,
};

/// What a search works with; good for any number of runs.
#[derive(Clone)]
pub struct Search<'a> {
    /// Paints.
    pub pipeline: &'a dyn Pipeline,
    /// Judge; at least one. Of several see [`ScoreMixer`](super::ScoreMixer).
    pub scorers: Vec<WeightedScorer<'a>>,
    /// Tell images apart, by the names that plans use; those that the plan does not name may be
    /// missing.
    pub extractors: &'a BTreeMap<Features, Box<dyn Extractor>>,
    /// Size of the images that stages before the last scale look at.
    pub preview: DecodeSize,
    /// What the generator was set to, for the record.
    pub settings: Map<String, Value>,
}

impl<'a> Search<'a> {
    /// A search that looks at full-size images and records no settings.
    pub fn new(
        pipeline: &'a dyn Pipeline,
        scorer: &'a dyn Scorer,
        extractors: &'a BTreeMap<Features, Box<dyn Extractor>>,
    ) -> Self {
        let scorers = vec![WeightedScorer {
            name: "",
            weight: 1.0,
            scorer,
        }];
        Self {
            pipeline,
            scorers,
            extractors,
            preview: DecodeSize::Full,
            settings: Map::new(),
        }
    }

    /// The same with other scorers, at least one.
    pub fn with_scorers(self, scorers: Vec<WeightedScorer<'a>>) -> Self {
        Self { scorers, ..self }
    }

    /// What each scorer says of some images, as `[scorer][image]`.
    ///
    /// # Errors
    /// A scorer fails, or gives more or fewer scores than images.
    pub fn scores(&self, prompt: &str, images: &[Image]) -> Result<Vec<Vec<f32>>> {
        let of = |one: &WeightedScorer| {
            let scores = one.scorer.score(prompt, images)?;
            count("scorer", "scores", scores.len(), images.len())?;
            Ok(scores)
        };
        self.scorers.iter().map(of).collect()
    }

    /// Operations that all scorers together take for so many images.
    pub fn scoring_flops(&self, images: usize) -> f64 {
        self.scorers
            .iter()
            .map(|one| one.scorer.flops(images))
            .sum()
    }

    /// Whether this search can follow the plan: see [`Plan::check`]; a scorer and every kind of
    /// features must be there too.
    ///
    /// # Errors
    /// [`Error::Input`] names the scale that cannot be done, or what is missing.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        plan.check(self.pipeline.scales().len())?;
        if self.scorers.is_empty() {
            return Err(Error::input("a search without a scorer")
                .with_hint("`Search::with_scorers` takes at least one"));
        }
        if self.scorers.len() > 1 && plan.rounds() > 1 {
            return Err(Error::input("a mix of scorers cannot judge rounds that are painted one after the other")
                .with_hint("name one scorer, or take a method whose rows stand side by side, such as best-of-n"));
        }
        for stage in plan.stages() {
            let Some(kind) = stage
                .select
                .features()
                .filter(|kind| !self.extractors.contains_key(kind))
            else {
                continue;
            };
            let known: Vec<_> = self.extractors.keys().map(ToString::to_string).collect();
            let hint = if known.is_empty() {
                "no features at all".to_owned()
            } else {
                known.join(", ")
            };
            return Err(Error::input(format!(
                "scale {}: there are no features `{kind}`",
                stage.scale
            ))
            .with_hint(format!("this model brings {hint}")));
        }
        Ok(())
    }
}

/// # Errors
/// Someone gave more or fewer answers than there are images.
pub(super) fn count(who: &str, what: &str, found: usize, images: usize) -> Result<()> {
    if found == images {
        return Ok(());
    }
    Err(Error::internal(format!(
        "the {who} gave {found} {what} for {images} images"
    )))
}
