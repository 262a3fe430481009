//! What is kept of every image of an evaluation: one line of JSON, written as soon as the image has
//! been judged.

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
    /// What was to be painted.
    pub prompt: String,
    /// Which of several tries with this prompt.
    pub sample: usize,
    /// The seed of this try: the same for every contender.
    pub seed: u64,
    /// Who painted it.
    pub method: String,
    /// The size of its search.
    pub n: usize,
    /// The judge's verdict, 0 to 1.
    pub correct: f64,
    /// Why.
    pub reason: String,
    /// What the search's own scorer thought of it, if a search painted it.
    #[serde(
        default,
        with = "number::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub score: Option<f32>,
    /// What it took.
    pub cost: Spent,
    /// What the judge saw, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// What the image of a contender took, counted four ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Images painted to the last scale.
    pub images: f64,
    /// Floating-point operations, decodes and scorings included.
    pub flops: f64,
    /// Images decoded.
    pub decodes: f64,
    /// Images read by scorer or features.
    pub readings: f64,
    /// Seconds of wall time on one worker.
    pub seconds: f64,
}

impl ResultRecord {
    /// The record of what `contender` found for a prompt.
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
            cost: Spent {
                images: cost.images as f64,
                flops: cost.flops.total(),
                decodes: cost.decodes as f64,
                readings: (cost.scorings + cost.extractions) as f64,
                seconds: cost.seconds.total,
            },
            details: verdict.details,
        }
    }

    /// The record of a picture that was made elsewhere: nobody knows its seed and what it took.
    pub(super) fn shown(
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
            cost: Spent::default(),
            details: verdict.details,
        }
    }
}

impl Spent {
    /// The mean of several.
    pub fn mean<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let (mut sum, mut count) = (Self::default(), 0.0);
        for one in all {
            count += 1.0;
            for (sum, part) in sum.parts().into_iter().zip(one.clone().parts()) {
                *sum += *part;
            }
        }
        sum.parts()
            .into_iter()
            .for_each(|part| *part /= if count == 0.0 { 1.0 } else { count });
        sum
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
