//! Benchmarks: prompt sets with evaluators, and the results of search methods on them.
//!
//! A [`Suite`] is a set of prompts with an evaluator that no search ever sees. The scenes of the
//! demo world are the suite that needs no downloads.

mod checks;
pub mod consistency;
pub mod contender;
pub mod cost_model;
pub mod experiment;
pub mod external;
pub mod geneval;
pub mod held_out;
pub mod log;
pub mod pool;
pub mod record;
pub mod runner;
pub mod scenes;
pub mod stats;
pub mod summary;
pub mod t2i_compbench;
pub mod warnings;

pub use contender::Contender;
pub use cost_model::CostModel;
pub use experiment::Experiment;
pub use held_out::{HeldOutScorer, NamedScore};
pub use log::{Log, Setup};
pub use record::{Counts, ImageCost, ResultRecord};
pub use runner::{EvaluatedImage, Evaluation, SampleTask, Variant, check_samples, pending_samples};
pub use summary::{Gain, MethodSummary, ModelCost, Overfit, Summary};

use serde_json::Value;
use ttsvar_search::Image;

use crate::Result;

/// A prompt of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its task, one of [`Suite::tasks`].
    pub task: &'static str,
    /// The prompt text.
    pub prompt: String,
}

/// The result of evaluating one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// From 0, wrong, to 1, right.
    pub score: f64,
    /// A short reason for people: `found 1 red circle, expected 2`.
    pub reason: String,
    /// What the evaluator saw, if it reports that.
    pub details: Option<Value>,
}

/// A set of prompts and its evaluator.
pub trait Suite: Send + Sync {
    /// Name in files and tables.
    fn name(&self) -> &str;

    /// The tasks, in the order of tables. The overall result is the mean over them.
    fn tasks(&self) -> &[&'static str];

    /// The prompts.
    fn cases(&self) -> &[Case];

    /// The lowest score of a verdict.
    fn least_score(&self) -> f64 {
        0.0
    }

    /// Evaluates images of the prompt `cases()[case]` and returns one verdict per image, in their
    /// order.
    ///
    /// # Errors
    /// An image cannot be evaluated.
    fn evaluate(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>>;

    /// Evaluates images of several prompts: `images[i]` belongs to the prompt `cases()[cases[i]]`.
    /// Suites whose networks are faster on batches override this default.
    ///
    /// # Errors
    /// As [`Suite::evaluate`].
    fn evaluate_batch(&self, cases: &[usize], images: &[Image]) -> Result<Vec<Verdict>> {
        let mut verdicts = Vec::with_capacity(images.len());
        for (case, image) in cases.iter().zip(images) {
            verdicts.extend(self.evaluate(*case, std::slice::from_ref(image))?);
        }
        Ok(verdicts)
    }
}
