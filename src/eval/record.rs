//! The record of one evaluated image: one line of JSON, written as soon as the image has been
//! evaluated.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ttsvar_search::{Outcome, StageRecord, Trace, Verifier, number};

use super::{Case, Contender, Verdict, held_out::NamedScore};

/// An image and its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Place of the prompt in the suite.
    pub case: usize,
    /// Its task.
    pub task: String,
    /// The prompt text.
    pub prompt: String,
    /// Number of the sample of this prompt.
    pub sample: usize,
    /// The seed of this sample: the same for every contender.
    pub seed: u64,
    /// The method that generated it.
    pub method: String,
    /// The size of its search.
    pub n: usize,
    /// The evaluator's verdict, 0 to 1.
    pub correct: f64,
    /// The reason.
    pub reason: String,
    /// The final score in the search, if a search generated it.
    #[serde(
        default,
        with = "number::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub score: Option<f32>,
    /// The score by each of several scorers in the search. [`ResultRecord::score`] is then relative
    /// to the search, since the mix standardises scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<NamedScore>,
    /// The scores of the image by scorers that the search did not use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<NamedScore>,
    /// Its cost.
    pub cost: ImageCost,
    /// What its search computed, for prices of any cost model. Records of external images and of
    /// earlier versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// What the evaluator saw, if it reports that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// The cost of one image of a contender, counted several ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageCost {
    /// Images generated up to the last scale.
    pub images: f64,
    /// Floating-point operations, including decodes and scoring.
    pub flops: f64,
    /// Images decoded.
    pub decodes: f64,
    /// Images passed to the scorer or the features.
    pub readings: f64,
    /// Wall time in seconds on one worker.
    pub seconds: f64,
}

/// What a search computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Passes of the transformer at each scale: one per state and branch of guidance.
    pub passes: Vec<usize>,
    /// Unfinished images that were decoded.
    pub unfinished_decodes: usize,
    /// Finished images that were decoded.
    pub finished_decodes: usize,
    /// Scorings of unfinished images, once per scorer.
    pub unfinished_scorings: usize,
    /// Scorings of finished images, once per scorer.
    pub finished_scorings: usize,
    /// Candidates scored by their latents.
    pub verifications: usize,
    /// Images whose features were computed.
    pub extractions: usize,
}

impl Counts {
    /// The counts of a search.
    pub fn of(trace: &Trace) -> Self {
        let cost = &trace.cost;
        let unfinished_scorings = unfinished_scorings(trace);
        Self {
            passes: cost.passes.clone(),
            unfinished_decodes: cost.decodes.saturating_sub(cost.images),
            finished_decodes: cost.images,
            unfinished_scorings,
            finished_scorings: cost.scorings.saturating_sub(unfinished_scorings),
            verifications: cost.verifications,
            extractions: cost.extractions,
        }
    }
}

/// Scorings of images before the last scale.
fn unfinished_scorings(trace: &Trace) -> usize {
    let scores_images = |stage: &&StageRecord| {
        let unfinished = stage.scale + 1 < trace.scales.len();
        unfinished && !stage.resumes && stage.verifier == Verifier::Image
    };
    let stages = trace.stages.iter().filter(scores_images);
    let images: usize = stages.map(|stage| stage.scores.len()).sum();
    // A search by a single scorer does not list it.
    images * trace.scorers.len().max(1)
}

impl ResultRecord {
    /// The record of the image that `contender` found for a prompt.
    pub(super) fn new(
        (case, of): (usize, &Case),
        (sample, seed): (usize, u64),
        contender: &Contender,
        outcome: &Outcome,
        held_out: Vec<NamedScore>,
        verdict: Verdict,
    ) -> Self {
        let cost = &outcome.trace.cost;
        Self {
            case,
            task: of.task.to_owned(),
            prompt: of.prompt.clone(),
            sample,
            seed,
            method: contender.method.clone(),
            n: contender.n,
            correct: verdict.score,
            reason: verdict.reason,
            score: Some(outcome.winner().score),
            parts: parts(outcome),
            held_out,
            cost: ImageCost {
                images: cost.images as f64,
                flops: cost.flops.total(),
                decodes: cost.decodes as f64,
                readings: (cost.scorings + cost.extractions) as f64,
                seconds: cost.seconds.total,
            },
            counts: Some(Counts::of(&outcome.trace)),
            details: verdict.details,
        }
    }

    /// The record of an image that another program generated: its seed and cost are unknown.
    pub(super) fn external(
        (case, of): (usize, &Case),
        sample: usize,
        contender: &Contender,
        verdict: Verdict,
    ) -> Self {
        Self {
            case,
            task: of.task.to_owned(),
            prompt: of.prompt.clone(),
            sample,
            seed: 0,
            method: contender.method.clone(),
            n: contender.n,
            correct: verdict.score,
            reason: verdict.reason,
            score: None,
            parts: vec![],
            held_out: vec![],
            cost: ImageCost::default(),
            counts: None,
            details: verdict.details,
        }
    }
}

/// The winner's score by each of several scorers.
fn parts(outcome: &Outcome) -> Vec<NamedScore> {
    let parts = outcome.trace.parts_of(outcome.winner().id).into_iter();
    let named = |(scorer, score): (&str, f32)| NamedScore {
        scorer: scorer.to_owned(),
        score,
    };
    parts.map(named).collect()
}

impl ImageCost {
    /// The mean of several.
    pub fn mean<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut mean = Self::default();
        let mut count = 0u32;
        for cost in all {
            count += 1;
            let mut cost = *cost;
            for (sum, part) in mean.parts().into_iter().zip(cost.parts()) {
                *sum += *part;
            }
        }
        for part in mean.parts() {
            *part /= f64::from(count.max(1));
        }
        mean
    }

    /// All parts with their names.
    pub(super) fn named(&self) -> [(&'static str, f64); 5] {
        [
            ("images", self.images),
            ("flops", self.flops),
            ("decodes", self.decodes),
            ("readings", self.readings),
            ("seconds", self.seconds),
        ]
    }

    fn parts(&mut self) -> [&mut f64; 5] {
        [
            &mut self.images,
            &mut self.flops,
            &mut self.decodes,
            &mut self.readings,
            &mut self.seconds,
        ]
    }
}
