//! Prompt sets with judges, and what methods reach on them.
//!
//! A [`Suite`] is a set of prompts and a judge that no search ever sees. The scenes of the demo
//! world are the suite that needs no downloads.

pub mod consistency;
pub mod contender;
pub mod experiment;
pub mod geneval;
pub mod log;
pub mod pool;
pub mod record;
pub mod runner;
pub mod scenes;
pub mod shown;
pub mod stats;
pub mod summary;
pub mod t2i_compbench;

pub use contender::Contender;
pub use experiment::Experiment;
pub use log::{Log, Setup};
pub use record::{ResultRecord, Spent};
pub use runner::{Evaluation, Judged, Try, check_tries, open_tries};
pub use summary::{Gain, Row, Summary};

use serde_json::Value;
use ttsvar_search::Image;

use crate::Result;

/// A prompt of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The task that it belongs to, one of [`Suite::tasks`].
    pub task: &'static str,
    /// What to paint.
    pub prompt: String,
}

/// What a judge thinks of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// From 0, wrong, to 1, right.
    pub score: f64,
    /// Why, in a few words for people: `found 1 red circle, expected 2`.
    pub reason: String,
    /// What the judge saw, where it tells.
    pub details: Option<Value>,
}

/// A set of prompts and its judge.
pub trait Suite: Send + Sync {
    /// Name in files and tables.
    fn name(&self) -> &str;

    /// The tasks, in the order of tables. The overall result is the mean over them.
    fn tasks(&self) -> &[&'static str];

    /// The prompts.
    fn cases(&self) -> &[Case];

    /// Judges images painted for the prompt `cases()[case]`, one verdict each, in their order.
    ///
    /// # Errors
    /// An image cannot be judged at all.
    fn judge(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>>;

    /// Judges images of several prompts at once: `images[i]` was painted for the prompt
    /// `cases()[cases[i]]`. Suites with networks that take many images faster than one do better
    /// than this.
    ///
    /// # Errors
    /// As [`Suite::judge`].
    fn judge_together(&self, cases: &[usize], images: &[Image]) -> Result<Vec<Verdict>> {
        let one = |(case, image): (&usize, &Image)| self.judge(*case, std::slice::from_ref(image));
        Ok(cases
            .iter()
            .zip(images)
            .map(one)
            .collect::<Result<Vec<_>>>()?
            .concat())
    }
}
