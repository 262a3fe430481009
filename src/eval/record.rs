//! The record of one evaluated image: one line of JSON, written as soon as the image has been
//! evaluated.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ttsvar_search::{Outcome, number};

use super::{Case, Contender, Verdict};

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
    /// Its cost.
    pub cost: ImageCost,
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

impl ResultRecord {
    /// The record of the image that `contender` found for a prompt.
    pub(super) fn new(
        (case, of): (usize, &Case),
        (sample, seed): (usize, u64),
        contender: &Contender,
        outcome: &Outcome,
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
            cost: ImageCost {
                images: cost.images as f64,
                flops: cost.flops.total(),
                decodes: cost.decodes as f64,
                readings: (cost.scorings + cost.extractions) as f64,
                seconds: cost.seconds.total,
            },
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
            cost: ImageCost::default(),
            details: verdict.details,
        }
    }
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
