//! Scorers by name.

use std::{fmt, str::FromStr};

use ttsvar_search::Scorer;

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

    /// The name of what stands in for the published network, if that is not the one loaded.
    fn stands_in(&self) -> Option<&'static str> {
        None
    }
}

/// Loads the network of a scorer.
pub type LoadScorer = fn(&ScorerFiles, &Loader) -> Result<Loaded<Box<dyn ScorerNetwork>>>;

/// Everything about one kind of scorer.
pub struct ScorerKind {
    /// Its published files and its name in a `bundle.toml`.
    pub release: ScorerRelease,
    /// The names under which users choose it, each with the function from the network's output to
    /// the score; the first is the default.
    pub variants: &'static [Variant],
    /// True if scores depend on the prompt.
    pub reads_prompt: bool,
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
        let families = KINDS.map(|kind| kind.release.family);
        let expected = format!("expected one of {}", families.join(", "));
        Error::input(format!("unknown scorer family `{family}`"))
            .with_hint(suggest(family, &families, &expected))
    })
}

/// A scorer by the name under which users choose it.
#[derive(Clone, Copy)]
pub struct ScorerName {
    /// The kind of scorer.
    pub kind: &'static ScorerKind,
    /// The name.
    pub name: &'static str,
    /// The function from the network's output to the score.
    pub score: fn(f32) -> f32,
}

impl ScorerName {
    /// The default scorer of a kind.
    pub fn usual(kind: &'static ScorerKind) -> Self {
        let (name, score) = kind.variants[0];
        Self { kind, name, score }
    }
}

impl PartialEq for ScorerName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for ScorerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScorerName({})", self.name)
    }
}

impl fmt::Display for ScorerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for ScorerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = || {
            KINDS
                .iter()
                .flat_map(|kind| kind.variants.iter().map(move |v| (*kind, *v)))
        };
        let found = all().find(|(_, (name, _))| *name == text);
        let Some((kind, (name, score))) = found else {
            let names: Vec<&str> = all().map(|(_, (name, _))| name).collect();
            return Err(
                Error::input(format!("unknown scorer `{text}`")).with_hint(suggest(
                    text,
                    &names,
                    &format!("expected one or more of {}", names.join(", ")),
                )),
            );
        };
        Ok(Self { kind, name, score })
    }
}
