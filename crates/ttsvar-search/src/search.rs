//! The parts of a search: a generator, scorers, features.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    AnsweredScores, Budget, Error, Image, Result,
    features::{Extractor, Features},
    mixer::WeightedScorer,
    pipeline::{DecodeSize, Pipeline, Prompt, Workload},
    plan::Plan,
    scorer::Scorer,
    verifier::{LatentVerifier, Verifier},
    warning::Warning,
};

/// The parts of a search, for any number of runs.
#[derive(Clone)]
pub struct Search<'a> {
    /// The generator.
    pub pipeline: &'a dyn Pipeline,
    /// The scorers. [`ScoreMixer`](super::ScoreMixer) combines several. None are needed for a plan of
    /// a single candidate ([`Plan::compares`]); its image then has the score NaN.
    pub scorers: Vec<WeightedScorer<'a>>,
    /// Feature extractors by their names in plans. Those that the plan does not name may be
    /// missing.
    pub extractors: &'a BTreeMap<Features, Box<dyn Extractor>>,
    /// Predicts final scores from latents; needed by plans with stages that score latents.
    pub verifier: Option<&'a dyn LatentVerifier>,
    /// Size of the images that stages before the last scale use.
    pub preview: DecodeSize,
    /// What a search may spend; none if its plan decides.
    pub budget: Option<Budget>,
    /// Settings of the generator, for the record.
    pub settings: Map<String, Value>,
}

impl<'a> Search<'a> {
    /// A search that uses full-size images and records no settings.
    pub fn new(
        pipeline: &'a dyn Pipeline,
        scorer: &'a dyn Scorer,
        extractors: &'a BTreeMap<Features, Box<dyn Extractor>>,
    ) -> Self {
        let scorer = WeightedScorer {
            name: "",
            weight: 1.0,
            scorer,
        };
        Self::unscored(pipeline, extractors).with_scorers(vec![scorer])
    }

    /// The same without a scorer.
    pub fn unscored(
        pipeline: &'a dyn Pipeline,
        extractors: &'a BTreeMap<Features, Box<dyn Extractor>>,
    ) -> Self {
        Self {
            pipeline,
            scorers: vec![],
            extractors,
            verifier: None,
            preview: DecodeSize::Full,
            budget: None,
            settings: Map::new(),
        }
    }

    /// The same with other scorers, at least one unless the plan compares nothing.
    pub fn with_scorers(self, scorers: Vec<WeightedScorer<'a>>) -> Self {
        Self { scorers, ..self }
    }

    /// The scores of each scorer for some images, as `[scorer][image]`.
    ///
    /// # Errors
    /// A scorer fails, or returns more or fewer scores than images.
    pub fn scores(&self, prompt: &str, images: &[Image]) -> Result<Vec<Vec<f32>>> {
        let parts = self.scores_with_answers(prompt, images)?.into_iter();
        Ok(parts.map(|part| part.scores).collect())
    }

    /// The same with the answers that scores are computed from.
    pub(super) fn scores_with_answers(
        &self,
        prompt: &str,
        images: &[Image],
    ) -> Result<Vec<AnsweredScores>> {
        let mut parts = Vec::with_capacity(self.scorers.len());
        for weighted in &self.scorers {
            let part = weighted.scorer.score_with_answers(prompt, images)?;
            part.check(images.len())?;
            parts.push(part);
        }
        Ok(parts)
    }

    /// Warnings about a prompt, by the generator and by every scorer. [`crate::run()`] reports
    /// them at its start.
    ///
    /// # Errors
    /// The prompt cannot be split into tokens.
    pub fn prompt_warnings(&self, prompt: &Prompt) -> Result<Vec<Warning>> {
        let mut warnings = self.pipeline.prompt_warnings(prompt)?;
        for weighted in &self.scorers {
            let reader = weighted.scorer.prompt_reader();
            let warning = reader.map(|reader| reader.check(&prompt.text, false));
            if let Some(warning) = warning.transpose()?.flatten()
                && !warnings.contains(&warning)
            {
                warnings.push(warning);
            }
        }
        Ok(warnings)
    }

    /// Floating-point operations of all scorers together for `images` images.
    pub fn scoring_flops(&self, images: usize) -> f64 {
        let scorers = self.scorers.iter();
        scorers.map(|weighted| weighted.scorer.flops(images)).sum()
    }

    /// The expected operations of one image that is generated and scored without a search, for a
    /// prompt of usual length; 0 where unknown.
    pub(super) fn image_flops(&self) -> f64 {
        let scales = self.pipeline.scales().len();
        let mut decodes = vec![0; scales];
        decodes[scales.saturating_sub(1)] = 1;
        let generator = self.pipeline.estimate(&Workload {
            widths: vec![1; scales],
            suspended: vec![0; scales],
            decodes,
            size: DecodeSize::Full,
        });
        match generator.flops > 0.0 {
            true => generator.flops + self.scoring_flops(1),
            false => 0.0,
        }
    }

    /// Checks that this search can carry out the plan: that the plan fits the generator
    /// ([`Plan::check`]) and that it has a scorer and all the features of the plan.
    ///
    /// # Errors
    /// [`Error::Input`] names the scale at fault, or the missing part.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        plan.check(self.pipeline.scales().len())?;
        if self.scorers.is_empty() && plan.compares() {
            return Err(Error::input("the search has no scorer")
                .with_hint("give at least one to `Search::with_scorers`"));
        }
        if matches!(self.budget, Some(Budget::Flops(_))) && self.image_flops() <= 0.0 {
            return Err(Error::input(
                "a budget of operations needs a generator that tells how many it takes",
            )
            .with_hint("use a budget of seconds or images"));
        }
        self.check_single_scorer(plan)?;
        if let Some(stage) = latent_stage(plan) {
            self.check_verifier(stage.scale)?;
        }
        for stage in plan.stages() {
            match stage.select.features() {
                Some(Features::Latent) => {}
                Some(kind) if !self.extractors.contains_key(&kind) => {
                    return Err(self.no_features(stage.scale, kind));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A mix of scorers standardises scores among the candidates of a stage, so it has no scores that
    /// could be compared with a threshold, a prediction or another round.
    fn check_single_scorer(&self, plan: &Plan) -> Result<()> {
        let method = if plan.rounds() > 1 {
            "generates in rounds"
        } else if plan.suspends() {
            "suspends candidates below a score"
        } else if latent_stage(plan).is_some() {
            "predicts scores from latents"
        } else {
            return Ok(());
        };
        if self.scorers.len() == 1 {
            return Ok(());
        }
        Err(Error::input(format!(
            "a mix of scorers compares candidates of the same round, \
             so it cannot be used with a method that {method}",
        ))
        .with_hint(
            "choose one scorer, or a method that generates all candidates at once, \
             such as best-of-n",
        ))
    }

    /// Checks that there is a latent verifier for the scorer of this search.
    fn check_verifier(&self, scale: usize) -> Result<()> {
        let verifier = self.latent_verifier().map_err(|error| match error {
            Error::Input { message, hint } => Error::Input {
                message: format!("scale {scale}: {message}"),
                hint,
            },
            other => other,
        })?;
        let predicts = verifier.predicts();
        match self.scorers.iter().find(|scorer| scorer.name != predicts) {
            Some(scorer) if !scorer.name.is_empty() => Err(Error::input(format!(
                "scale {scale}: the latent verifier predicts the scorer `{predicts}`, \
                 but the search uses `{}`",
                scorer.name
            ))
            .with_hint("choose that scorer, or verifier = \"image\"")),
            _ => Ok(()),
        }
    }

    /// The latent verifier.
    ///
    /// # Errors
    /// [`Error::Input`] if there is none.
    pub(super) fn latent_verifier(&self) -> Result<&'a dyn LatentVerifier> {
        self.verifier.ok_or_else(|| {
            Error::input("the model has no latent verifier").with_hint(
                "choose verifier = \"image\", or add a [verifier] to the model's bundle.toml",
            )
        })
    }

    /// Warnings about a plan that the search can carry out.
    pub(super) fn plan_warnings(&self, plan: &Plan) -> Vec<Warning> {
        let mut warnings = vec![];
        let trained = self.verifier.map_or(&[][..], |verifier| verifier.scales());
        for stage in plan.stages() {
            if stage.scores_with(Verifier::Latent) && !trained.contains(&stage.scale) {
                warnings.push(Warning::UntrainedScale {
                    scale: stage.scale,
                    trained: trained.to_vec(),
                });
            }
        }
        warnings
    }

    fn no_features(&self, scale: usize, kind: Features) -> Error {
        let known: Vec<_> = self.extractors.keys().map(ToString::to_string).collect();
        let hint = match known.is_empty() {
            true => "this model has no features".to_owned(),
            false => format!("this model has {}", known.join(", ")),
        };
        Error::input(format!("scale {scale}: there are no features `{kind}`")).with_hint(hint)
    }
}

/// The first stage that scores latents.
fn latent_stage(plan: &Plan) -> Option<&crate::Stage> {
    let mut stages = plan.stages().iter();
    stages.find(|stage| stage.scores_with(Verifier::Latent))
}

/// Checks that `source` returned one result per image; `what` names the results.
///
/// # Errors
/// It returned more or fewer.
pub(super) fn check_count(source: &str, what: &str, found: usize, images: usize) -> Result<()> {
    if found == images {
        return Ok(());
    }
    Err(Error::internal(format!(
        "the {source} returned {found} {what} for {images} images"
    )))
}
