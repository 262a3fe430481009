//! `bundle.toml`: the description of one system, what its parts are and how it is meant to be run.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::blob::Blob;
use crate::{Error, Result, options::Options};

/// Everything that a `bundle.toml` says. Paths are names inside the bundle's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What the system is called.
    pub name: String,
    /// One sentence about it.
    #[serde(default)]
    pub about: String,
    /// Its version, recorded with every picture.
    #[serde(default)]
    pub version: String,
    /// What paints.
    pub generator: Generator,
    /// What reads the prompt.
    pub text: Text,
    /// What can score pictures; the first does where nothing else is asked for.
    #[serde(default, deserialize_with = "one_or_several")]
    pub scorer: Vec<Scorer>,
    /// What tells pictures apart; without it nothing can be clustered.
    pub features: Option<Features>,
    /// Options for runs that set none.
    #[serde(default)]
    pub defaults: Options,
}

/// Families of generators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneratorFamily {
    /// Infinity: bitwise visual autoregressive model with a BSQ-VAE.
    Infinity,
}

/// The part that paints.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Which code runs it.
    pub family: GeneratorFamily,
    /// Transformer: a file, or a folder of shards.
    pub weights: String,
    /// Decoder of bits to pictures.
    pub vae: String,
    /// Token grids (height, width) of all scales; absent: the released schedules by aspect and
    /// pixels.
    pub scales: Option<Vec<(usize, usize)>>,
    /// Grid that rotary positions refer to, where `scales` are given; absent: the last of them. The
    /// released schedules refer to their own of 1M.
    pub rope_grid: Option<(usize, usize)>,
}

/// Families of text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFamily {
    /// The encoder of T5 1.1 and flan-T5.
    T5,
}

/// The part that reads the prompt.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Which code runs it.
    pub family: TextFamily,
    /// A folder with `config.json`, `tokenizer.json` and weights.
    pub weights: String,
    /// The only words that the system knows; absent: it takes any.
    pub words: Option<Vec<String>>,
}

/// A part that scores pictures.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorer {
    /// The kind of scorer, such as `image-reward`.
    pub family: String,
    /// Its weights: a file; of `clip` a Hugging Face folder, of `aesthetic` the head.
    pub weights: String,
    /// What the weights cannot tell, of `image-reward` and `hps`; absent: a file of the usual name
    /// in the folder, otherwise the released one.
    pub config: Option<String>,
    /// Of `image-reward` a WordPiece vocabulary, `vocab.txt` or `tokenizer.json`; of `hps` CLIP's
    /// merges.
    pub vocab: Option<String>,
    /// Heads of ImageReward's vision tower, where the width does not tell.
    pub heads: Option<usize>,
    /// Of `aesthetic` the SigLIP below the head: a Hugging Face folder.
    pub encoder: Option<String>,
}

/// `[scorer]` is one, `[[scorer]]` is several.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Scorer>, D::Error> {
    struct Scorers;

    impl<'de> Visitor<'de> for Scorers {
        type Value = Vec<Scorer>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a table [scorer], or several [[scorer]]")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![Scorer::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut scorers = vec![];
            while let Some(scorer) = list.next_element()? {
                scorers.push(scorer);
            }
            Ok(scorers)
        }
    }

    deserializer.deserialize_any(Scorers)
}

/// Families of feature extractors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeaturesFamily {
    /// DINOv2, with or without registers, in either file layout.
    Dinov2,
}

/// The part that tells pictures apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Which code runs it.
    pub family: FeaturesFamily,
    /// Its weights: a file, or a Hugging Face folder.
    pub weights: String,
    /// Attention heads, where the width does not tell.
    pub heads: Option<usize>,
    /// Height and width that pictures are resized to; absent: 224 by 224.
    pub size: Option<(usize, usize)>,
}

impl Description {
    /// Reads and checks a `bundle.toml`.
    ///
    /// # Errors
    /// It is missing, is not TOML, has an unknown or lacks a needed key (the message names the
    /// known ones), or a value is out of its range.
    pub fn read(toml: &Blob) -> Result<Self> {
        let text = toml.text()?;
        let description: Self = toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let place = line
                .map(|line| format!("line {line}: "))
                .unwrap_or_default();
            Error::file(
                toml.path(),
                format!("{place}{}", error.message().replace('\n', " ")),
            )
            .with_hint(HINT)
        })?;
        match description.fault() {
            Some(fault) => Err(Error::file(toml.path(), fault).with_hint(HINT)),
            None => Ok(description),
        }
    }

    /// What is wrong with the values, if anything.
    fn fault(&self) -> Option<String> {
        let names = [
            Some(&self.generator.weights),
            Some(&self.generator.vae),
            Some(&self.text.weights),
        ]
        .into_iter();
        let scorer = self.scorer.iter().flat_map(|s| {
            [
                Some(&s.weights),
                s.config.as_ref(),
                s.vocab.as_ref(),
                s.encoder.as_ref(),
            ]
        });
        let features = self.features.iter().map(|f| Some(&f.weights));
        let empty = names
            .chain(scorer)
            .chain(features)
            .flatten()
            .any(|name| name.is_empty());
        if self.name.is_empty() || empty {
            return Some("`name` and the names of files may not be empty".into());
        }
        let others = self.features.iter().map(|f| f.heads);
        if self
            .scorer
            .iter()
            .map(|s| s.heads)
            .chain(others)
            .flatten()
            .any(|heads| heads == 0)
        {
            return Some("`heads` is at least 1".into());
        }
        let size = self
            .features
            .iter()
            .filter_map(|f| f.size)
            .flat_map(|(h, w)| [h, w]);
        if let Some(size) = size.into_iter().find(|size| !(1..=LARGEST).contains(size)) {
            return Some(format!(
                "features: pictures are resized to 1 to {LARGEST} pixels a side, not {size}"
            ));
        }
        let twice = |i: usize| {
            self.scorer[..i]
                .iter()
                .any(|before| before.family == self.scorer[i].family)
        };
        if let Some(i) = (0..self.scorer.len()).find(|i| twice(*i)) {
            return Some(format!(
                "two scorers are `{}`; a bundle has one of each family",
                self.scorer[i].family
            ));
        }
        self.generator.fault().or_else(|| {
            let error = self.defaults.check_ranges().err()?;
            Some(format!("defaults: {error}"))
        })
    }
}

/// Tokens along a side of a grid at most, 64 times the largest released one, and pixels of pictures
/// for features.
const LARGEST: usize = 4096;

const HINT: &str = "docs/weights.md describes bundle.toml";

impl Generator {
    fn fault(&self) -> Option<String> {
        let scales = self.scales.as_deref();
        if scales.is_some_and(<[_]>::is_empty) {
            return Some("`scales` is a list of at least one [height, width]".into());
        }
        if scales.is_none() && self.rope_grid.is_some() {
            return Some(
                "`rope_grid` goes with `scales`; the released schedules have their own".into(),
            );
        }
        let scales = scales.unwrap_or_default();
        let sizes = scales
            .iter()
            .chain(&self.rope_grid)
            .flat_map(|(h, w)| [*h, *w]);
        if let Some(size) = sizes.into_iter().find(|size| !(1..=LARGEST).contains(size)) {
            return Some(format!(
                "grids have 1 to {LARGEST} tokens a side, not {size}"
            ));
        }
        let shrinks = scales
            .windows(2)
            .position(|pair| pair[1].0 < pair[0].0 || pair[1].1 < pair[0].1)?;
        Some(format!(
            "scale {} is smaller than the one before; scales go from coarse to fine",
            shrinks + 1
        ))
    }
}
