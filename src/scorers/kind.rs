//! Scorers by name.

use std::{fmt, str::FromStr};

use ttsvar_search::{Image, Scorer};

use super::{ImageReward, KINDS};
use crate::{
    Error, Result,
    hub::{ScorerFiles, ScorerRelease},
    image::{Preprocess, PreprocessorConfig},
    loading::{Loaded, Loader},
};
use ttsvar_search::suggestion::suggest;

/// A name, and the function from the network's output to the score.
pub type Variant = (&'static str, fn(f32) -> f32);

/// The network of a scorer.
pub trait ScorerNetwork: Scorer {
    /// ImageReward's network, whose text encoder and head a latent verifier shares.
    fn image_reward(&self) -> Option<&ImageReward> {
        None
    }

    /// Itself, if it answers questions.
    fn image_questions(&self) -> Option<&dyn ImageQuestions> {
        None
    }

    /// The name of the model, if the kind does not determine it.
    fn model(&self) -> Option<&str> {
        None
    }

    /// The name of what stands in for the published network, if that is not the one loaded.
    fn stands_in(&self) -> Option<&'static str> {
        None
    }
}

/// Loads the network of a scorer.
pub type LoadScorer =
    fn(&ScorerFiles, &Loader, &ScorerSettings) -> Result<Loaded<Box<dyn ScorerNetwork>>>;

/// Settings of scorers that are not in their files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScorerSettings {
    /// The server of the scorer `openai`.
    #[cfg(feature = "remote")]
    pub server: super::openai::VisionServer,
}

/// Answers questions about images.
pub trait ImageQuestions {
    /// The probability of the right answer to a question, such as `Yes` or `four`, for each image;
    /// NaN if there is none.
    ///
    /// # Errors
    /// The network fails.
    fn answer(&self, question: &str, right: &str, images: &[Image]) -> Result<Vec<f32>>;
}

/// Everything about one kind of scorer.
pub struct ScorerKind {
    /// Its published files and its name in a `bundle.toml`.
    pub release: ScorerRelease,
    /// The names under which users choose it, each with the function from the network's output to
    /// the score; the first is the default.
    pub variants: &'static [Variant],
    /// True if scores depend on the prompt.
    pub reads_prompt: bool,
    /// True if users may give it a question of their own, `NAME:"question"`.
    pub answers: bool,
    /// True if its scores are standardised: mean 0 and deviation 1 over images of all kinds. The
    /// default thresholds of `auto` and `sequential` are on this scale.
    pub standardised: bool,
    /// Loads the network.
    pub load: LoadScorer,
}

/// The network's output is the score.
pub(super) fn unchanged(score: f32) -> f32 {
    score
}

/// The preprocessing as the `preprocessor_config.json` beside the scorer's weights sets it, if
/// there is one, for a network that reads images of `side` x `side` pixels.
///
/// # Errors
/// The file is damaged, or asks for something that this program does not do.
pub(super) fn preprocessing(
    usual: Preprocess,
    files: &ScorerFiles,
    side: usize,
) -> Result<Preprocess> {
    let config = match files.preprocessor_config()? {
        Some(blob) => Some(PreprocessorConfig::read(blob.path(), &blob.text()?)?),
        None => None,
    };
    usual.configured(config.as_ref(), side)
}

/// The kind that a `bundle.toml` calls `family`.
///
/// # Errors
/// There is no such kind.
pub fn kind(family: &str) -> Result<&'static ScorerKind> {
    let known = KINDS.iter().find(|kind| kind.release.family == family);
    known.copied().ok_or_else(|| {
        let families: Vec<&str> = KINDS.iter().map(|kind| kind.release.family).collect();
        let expected = format!("expected one of {}", families.join(", "));
        Error::input(format!("unknown scorer family `{family}`"))
            .with_hint(suggest(family, &families, &expected))
    })
}

/// A scorer by the name under which users choose it, perhaps with a question of their own.
#[derive(Clone)]
pub struct ScorerName {
    /// The kind of scorer.
    pub kind: &'static ScorerKind,
    /// The name.
    pub name: &'static str,
    /// The function from the network's output to the score.
    pub score: fn(f32) -> f32,
    /// The question that it answers instead of reading the prompt.
    pub question: Option<String>,
}

impl ScorerName {
    /// The default scorer of a kind.
    pub fn usual(kind: &'static ScorerKind) -> Self {
        let (name, score) = kind.variants[0];
        Self {
            kind,
            name,
            score,
            question: None,
        }
    }
}

impl PartialEq for ScorerName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.question == other.question
    }
}

impl fmt::Debug for ScorerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScorerName({self})")
    }
}

/// As users write it: `vqa:"Is the cat left of the dog?"`.
impl fmt::Display for ScorerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match &self.question {
            Some(question) => write!(f, ":{}", quote(question)),
            None => Ok(()),
        }
    }
}

/// `NAME`, `NAME:QUESTION` or `NAME:"QUESTION"`.
impl FromStr for ScorerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, question) = match text.split_once(':') {
            Some((name, question)) => (name, Some(unquote(question.trim())?)),
            None => (text, None),
        };
        let all = || {
            KINDS
                .iter()
                .flat_map(|kind| kind.variants.iter().map(move |v| (*kind, *v)))
        };
        let found = all().find(|(_, (known, _))| *known == name);
        let Some((kind, (name, score))) = found else {
            let names: Vec<&str> = all().map(|(_, (name, _))| name).collect();
            return Err(
                Error::input(format!("unknown scorer `{name}`")).with_hint(suggest(
                    name,
                    &names,
                    &format!("expected one or more of {}", names.join(", ")),
                )),
            );
        };
        if question.is_some() && !kind.answers {
            let answering = KINDS.iter().filter(|kind| kind.answers);
            let names: Vec<&str> = answering.map(|kind| kind.variants[0].0).collect();
            return Err(
                Error::input(format!("the scorer `{name}` answers no questions"))
                    .with_hint(format!("these do: {}", names.join(", "))),
            );
        }
        Ok(Self {
            kind,
            name,
            score,
            question,
        })
    }
}

/// A question in quotation marks.
fn quote(question: &str) -> String {
    let escaped = question.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// The question in a text with or without quotation marks.
fn unquote(text: &str) -> Result<String> {
    let wrong = || {
        Error::input(format!("`{}` is not a question", text.escape_debug()))
            .with_hint("for example vqa:\"Is the cat left of the dog?\"")
    };
    let question = match text.strip_prefix('"') {
        None => text.to_owned(),
        Some(rest) => {
            let inner = rest.strip_suffix('"').ok_or_else(wrong)?;
            let mut question = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => question.push(chars.next().ok_or_else(wrong)?),
                    '"' => return Err(wrong()),
                    c => question.push(c),
                }
            }
            question
        }
    };
    match question.trim().is_empty() {
        true => Err(wrong()),
        false => Ok(question),
    }
}

/// The parts of a text between separators that are not inside quotation marks.
pub(super) fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let mut parts = vec![];
    let mut start = 0;
    let mut quoted = false;
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.push(&text[start..place]);
                start = place + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
