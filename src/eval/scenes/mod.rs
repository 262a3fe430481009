//! The scenes of the demo world: one to four flat shapes on a light background, prompts after
//! GenEval's six tasks, and a judge that reads a picture exactly. No search ever sees the judge.

pub mod asks;
pub mod judge;
pub mod prompts;
mod regions;
pub mod words;
pub mod world;

pub use asks::{Ask, TASKS};
pub use judge::{Seen, detect};
pub use prompts::{Split, prompts};
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
    asks: Vec<Ask>,
    cases: Vec<Case>,
}

impl Scenes {
    /// `count` prompts of a split; see [`prompts()`].
    ///
    /// # Errors
    /// [`Error::Input`] when there are none or more than anybody could want.
    pub fn new(split: Split, count: usize, seed: u64) -> Result<Self> {
        const MOST: usize = 100_000;
        if count == 0 || count > MOST {
            return Err(Error::input(format!("a set of {count} prompts"))
                .with_hint(format!("choose 1 to {MOST}; 300 tell methods apart")));
        }
        let asks = prompts(split, count, seed);
        let cases = asks
            .iter()
            .map(|ask| Case {
                task: ask.task(),
                prompt: ask.words(),
            })
            .collect();
        Ok(Self {
            split,
            seed,
            asks,
            cases,
        })
    }

    /// The set that [`Scenes::described`] describes.
    ///
    /// # Errors
    /// [`Error::Input`] when it describes something else.
    pub fn of(described: &Map<String, Value>) -> Result<Self> {
        let missing =
            |name: &str| Error::input(format!("no `{name}` in the description of a set of scenes"));
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
            other => Err(Error::input(format!("`{other}` is no set of scenes"))),
        }
    }

    /// How the prompts were chosen, as evaluations record it.
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

    fn judge(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        let verdict = |image: &Image| {
            let (right, reason) = self.asks[case].judge(&detect(image));
            Verdict {
                score: f64::from(u8::from(right)),
                reason,
                details: None,
            }
        };
        Ok(images.iter().map(verdict).collect())
    }
}
