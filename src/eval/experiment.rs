//! Experiments as files: contenders and number of prompts.
//!
//! ```toml
//! title = "Greed of the resampling"
//! prompts = 120
//! samples = 2
//!
//! [[contender]]
//! name = "lambda 5"
//! method = "tts-var"
//! n = 2
//! lambda = 5
//!
//! [[contender]]
//! name = "one choice"
//! plan = { start = 4, stage = [{ scale = 5, width = 2, select = { resample = "value" } }] }
//! ```
//!
//! A contender may have `settings` of the generator, by the names of options:
//! `settings = { tau = [1, 1, 1, 0.5] }`.
//!
//! With a `plan`, `n` is only what tables show; without it, they show the candidates that the plan
//! starts with.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use ttsvar_search::{Drafts, Draw, Features, Method, Plan, PlanOptions, Potential, Verifier};

use super::{Contender, contender::check_names};
use crate::{Error, Result, file};

/// A comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Heading of its table.
    pub title: String,
    /// Number of prompts.
    pub prompts: usize,
    /// Samples per prompt.
    pub samples: usize,
    /// Number of prompts whose rows are scored after every scale; may be 0.
    pub consistency: usize,
    /// The contenders; the others are compared with the first.
    pub contenders: Vec<Contender>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExperimentFile {
    title: String,
    prompts: usize,
    samples: usize,
    #[serde(default)]
    consistency: usize,
    #[serde(rename = "contender")]
    contenders: Vec<ContenderFile>,
}

/// One contender, or one per N.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContenderFile {
    name: Option<String>,
    n: Option<Sizes>,
    method: Option<Method>,
    plan: Option<Plan>,
    features: Option<Features>,
    potential: Option<Potential>,
    lambda: Option<f64>,
    draw: Option<Draw>,
    verifier: Option<Verifier>,
    above: Option<f32>,
    enough: Option<f32>,
    finish: Option<usize>,
    /// Settings of the generator, by the names of options.
    #[serde(default)]
    settings: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sizes {
    One(usize),
    Several(Vec<usize>),
}

impl Experiment {
    /// Reads an experiment for a model of `scales` scales, whose unfinished candidates are scored as
    /// `drafts` say.
    ///
    /// # Errors
    /// The file cannot be read, or one of its plans is invalid.
    pub fn read(path: &Path, scales: usize, drafts: Drafts) -> Result<Self> {
        let text = file::read_text(path)?;
        Self::from_toml(&text, scales, drafts).map_err(|error| {
            let error = Error::in_file(path, error);
            match error.hint() {
                Some(_) => error,
                None => error.with_hint("see the files in `experiments/`"),
            }
        })
    }

    fn from_toml(text: &str, scales: usize, drafts: Drafts) -> Result<Self> {
        let file: ExperimentFile = file::parse_toml(text)?;
        let mut contenders = vec![];
        for contender in file.contenders {
            contender.read(scales, drafts, &mut contenders)?;
        }
        if contenders.is_empty() {
            return Err(Error::input(
                "an experiment needs at least one `[[contender]]`",
            ));
        }
        check_names(&contenders)?;
        let ExperimentFile {
            title,
            prompts,
            samples,
            consistency,
            ..
        } = file;
        Ok(Self {
            title,
            prompts,
            samples,
            consistency,
            contenders,
        })
    }
}

impl ContenderFile {
    fn read(self, scales: usize, drafts: Drafts, all: &mut Vec<Contender>) -> Result<()> {
        let sizes = match (&self.n, &self.plan) {
            (Some(Sizes::One(n)), _) => vec![*n],
            (Some(Sizes::Several(sizes)), _) if sizes.is_empty() => {
                return Err(Error::input("the list `n` of a contender is empty"));
            }
            (Some(Sizes::Several(sizes)), _) => sizes.clone(),
            // The table only shows it: a plan has its own numbers of candidates.
            (None, Some(plan)) => vec![plan.start() * plan.rounds()],
            (None, None) => {
                return Err(Error::input(
                    "a contender with a `method` needs the size of its search, `n`",
                )
                .with_hint("add n = 4, or a list to compare several sizes, n = [1, 2, 4]"));
            }
        };
        let Self {
            features,
            potential,
            lambda,
            draw,
            verifier,
            above,
            enough,
            finish,
            ..
        } = self;
        let options = PlanOptions {
            features,
            potential,
            lambda,
            draw,
            verifier,
            above,
            enough,
            finish,
        };
        let drafts = Drafts {
            finish,
            ..drafts.with_verifier(verifier)
        };
        for n in sizes {
            let plan = match (self.method, &self.plan) {
                (Some(method), None) => {
                    method.plan_for(scales, n, drafts)?.with(options, scales)?
                }
                (None, Some(plan)) => plan.clone().with(options, scales)?,
                _ => {
                    return Err(Error::input(
                        "a contender needs either a `method` or a `plan`",
                    ));
                }
            };
            plan.check(scales)?;
            let method = self
                .name
                .clone()
                .or(self.method.map(|method| method.to_string()));
            let method =
                method.ok_or_else(|| Error::input("a contender with a `plan` needs a `name`"))?;
            let settings = self.settings.clone();
            all.push(Contender {
                method,
                n,
                plan,
                settings,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ttsvar_search::Select;

    use super::*;

    #[test]
    fn sizes_and_options_make_contenders() {
        let text = "title = 't'\nprompts = 6\nsamples = 1\n\
            [[contender]]\nmethod = 'best-of-n'\nn = [1, 2]\n\
            [[contender]]\nname = 'even'\nmethod = 'tts-var'\nn = 1\nlambda = 0\n\
            [[contender]]\nname = 'custom'\n\
            plan = { start = 2, stage = [{ scale = 1, width = 1, select = { top = 1 } }] }\n";
        let read = Experiment::from_toml(text, 7, Drafts::default()).unwrap();
        let names: Vec<String> = read.contenders.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "best-of-n, N = 1",
                "best-of-n, N = 2",
                "even, N = 1",
                "custom, N = 2"
            ]
        );
        assert!(read.contenders[2].plan.to_toml().contains("lambda = 0"));
    }

    #[test]
    fn methods_draft_as_the_model_does() {
        let text = "title = 't'\nprompts = 6\nsamples = 1\n\
            [[contender]]\nmethod = 'auto'\nn = 4\n\
            [[contender]]\nmethod = 'draft'\nn = 4\n";
        let drafts = Drafts {
            verifier: Verifier::Latent,
            scale: Some(3),
            above: Some(0.25),
            finish: None,
        };
        let read = Experiment::from_toml(text, 7, drafts).unwrap();
        let stage = |contender: usize| read.contenders[contender].plan.stages()[0];
        assert_eq!((stage(0).scale, stage(0).verifier), (3, Verifier::Latent));
        assert_eq!(stage(0).select, Select::Above { score: 0.25 });
        assert_eq!((stage(1).scale, stage(1).verifier), (3, Verifier::Latent));
    }

    #[test]
    fn mistakes_are_named() {
        let fails = |text: &str| {
            let read = Experiment::from_toml(text, 7, Drafts::default());
            read.unwrap_err().to_string()
        };
        let head = "title = 't'\nprompts = 6\nsamples = 1\n[[contender]]\n";
        assert!(fails(&format!("{head}n = 1\n")).contains("either"));
        assert!(fails(&format!("{head}method = 'tts-var'\n")).contains("needs the size"));
        assert!(fails(&format!("{head}n = 1\nmethod = 'fastest'\n")).contains("line 6"));
        assert!(fails(&format!("{head}n = [2, 2]\nmethod = 'tts-var'\n")).contains("twice"));
        assert!(fails(&format!("{head}n = []\nmethod = 'tts-var'\n")).contains("is empty"));
        assert!(
            fails("title = 't'\nprompts = 6\nsamples = 1\ncontender = []\n")
                .contains("at least one")
        );
    }
}
