//! The scenes of the demo world: one to four flat shapes on a light background, prompts modelled on
//! GenEval's six tasks, and a rule-based evaluator. No search ever sees the evaluator.

pub mod detector;
mod fitting;
mod masks;
pub mod prompt;
pub mod prompt_set;
mod regions;
pub mod words;
pub mod world;

pub use detector::{DetectedShape, detect};
pub use prompt::{ScenePrompt, TASKS};
pub use prompt_set::{Split, prompts};
pub use world::Scene;

use serde_json::{Map, Value};
use ttsvar_search::Image;

use super::{Case, Suite, Verdict};
use crate::{Error, Result};

/// The name of the suite.
const NAME: &str = "scenes";

/// A set of prompts about scenes.
pub struct Scenes {
    split: Split,
    seed: u64,
    prompts: Vec<ScenePrompt>,
    cases: Vec<Case>,
}

impl Scenes {
    /// `count` prompts of a split; see [`prompts()`].
    ///
    /// # Errors
    /// [`Error::Input`] if `count` is 0 or above 100,000.
    pub fn new(split: Split, count: usize, seed: u64) -> Result<Self> {
        const MOST: usize = 100_000;
        if count == 0 || count > MOST {
            return Err(
                Error::input(format!("expected 1 to {MOST} prompts, found {count}"))
                    .with_hint("300 prompts are enough to tell methods apart"),
            );
        }
        let prompts = prompts(split, count, seed);
        let cases = prompts
            .iter()
            .map(|prompt| Case {
                task: prompt.task(),
                prompt: prompt.text(),
            })
            .collect();
        Ok(Self {
            split,
            seed,
            prompts,
            cases,
        })
    }

    /// Restores the set from its description, see [`Scenes::described`].
    ///
    /// # Errors
    /// [`Error::Input`] if it describes something else.
    pub fn from_description(described: &Map<String, Value>) -> Result<Self> {
        let missing = |name: &str| {
            Error::input(format!(
                "expected `{name}` in the description of a set of scenes"
            ))
        };
        let number = |name: &str| {
            described
                .get(name)
                .and_then(Value::as_u64)
                .ok_or_else(|| missing(name))
        };
        let text = |name: &str| {
            described
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| missing(name))
        };
        match text("name")? {
            NAME => Self::new(
                text("split")?.parse()?,
                number("prompts")? as usize,
                number("prompt_seed")?,
            ),
            other => Err(Error::input(format!(
                "expected the suite `{NAME}`, found `{other}`"
            ))),
        }
    }

    /// Description of the prompts, for the setup of an evaluation.
    pub fn described(&self) -> Map<String, Value> {
        let all: [(&str, Value); 4] = [
            ("name", self.name().into()),
            ("split", self.split.to_string().into()),
            ("prompts", self.cases.len().into()),
            ("prompt_seed", self.seed.into()),
        ];
        all.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl Suite for Scenes {
    fn name(&self) -> &str {
        NAME
    }

    fn tasks(&self) -> &[&'static str] {
        &TASKS
    }

    fn cases(&self) -> &[Case] {
        &self.cases
    }

    fn evaluate(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        let verdict = |image: &Image| {
            let (right, reason) = self.prompts[case].evaluate(&detect(image));
            Verdict {
                score: f64::from(u8::from(right)),
                reason,
                details: None,
            }
        };
        Ok(images.iter().map(verdict).collect())
    }
}
