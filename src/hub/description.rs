//! `bundle.toml`: the description of a system, its parts and its default options.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::blob::{Blob, plain_name};
use crate::{Error, Result, options::Options};

/// The contents of a `bundle.toml`. Paths are names inside the bundle's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The name of the system.
    pub name: String,
    /// A description in one sentence.
    #[serde(default)]
    pub about: String,
    /// Its version, recorded with every image.
    #[serde(default)]
    pub version: String,
    /// The generator.
    pub generator: Generator,
    /// The text encoder, if the generator reads texts.
    pub text: Option<Text>,
    /// The scorers; the first is the default.
    #[serde(default, deserialize_with = "scorer_or_list")]
    pub scorer: Vec<Scorer>,
    /// The feature extractor; without it candidates cannot be clustered.
    pub features: Option<Features>,
    /// The latent verifier; without it only decoded images can be scored.
    pub verifier: Option<Verifier>,
    /// The state dict to read in checkpoints with several that fit, such as `ema`.
    pub state_dict: Option<String>,
    /// Default options.
    #[serde(default)]
    pub defaults: Options,
}

/// Families of generators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneratorFamily {
    /// Infinity: bitwise visual autoregressive model with a BSQ-VAE.
    Infinity,
    /// VAR: class-conditional visual autoregressive model with a VQ-VAE.
    Var,
    /// HART: visual autoregressive model with a diffusion head, a hybrid tokenizer and Qwen2.
    Hart,
    /// Switti: visual autoregressive model with cross-attention to a text, a VQ-VAE and two CLIPs.
    Switti,
    /// FlexAR: causal model of the tokens of FlexTok with cross-attention to a text.
    #[serde(rename = "flexar")]
    FlexAr,
    /// The same for classes.
    #[serde(rename = "flexar-class")]
    FlexArClass,
}

impl GeneratorFamily {
    /// Its name in descriptions.
    fn name(self) -> &'static str {
        match self {
            Self::Infinity => "infinity",
            Self::Var => "var",
            Self::Hart => "hart",
            Self::Switti => "switti",
            Self::FlexAr => "flexar",
            Self::FlexArClass => "flexar-class",
        }
    }

    /// The text encoder that it needs; `None` if images are generated from classes.
    fn text(self) -> Option<TextFamily> {
        match self {
            Self::Infinity | Self::FlexAr => Some(TextFamily::T5),
            Self::Hart => Some(TextFamily::Qwen2),
            Self::Switti => Some(TextFamily::ClipPair),
            Self::Var | Self::FlexArClass => None,
        }
    }
}

/// The generator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Its family, which determines the code that runs it.
    pub family: GeneratorFamily,
    /// The transformer: a file, or a folder of shards.
    pub weights: String,
    /// The decoder from bits or codes to images: a file, or a folder.
    pub vae: String,
    /// Token grids (height, width) of all scales; if absent, for Infinity the released schedules by
    /// aspect and pixels, for VAR those of the checkpoint.
    pub scales: Option<Vec<(usize, usize)>>,
    /// The grid that rotary positions refer to, if `scales` are given; if absent, the last of them.
    /// The released schedules refer to that of 1M.
    pub rope_grid: Option<(usize, usize)>,
    /// Groups of channels that the VAE of FlexTok normalises together; if absent, 32, as in the
    /// published models.
    pub vae_groups: Option<usize>,
    /// The number of tokens after each scale of FlexAR; if absent, 1, 2, 4 and so on up to all.
    pub prefixes: Option<Vec<usize>>,
    /// The names of the classes that VAR or FlexAR knows, in the order of their numbers; if absent, those of
    /// ImageNet if there are 1000.
    pub classes: Option<Vec<String>>,
}

/// Families of text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextFamily {
    /// The encoder of T5 1.1 and flan-T5.
    T5,
    /// The layers of Qwen2, with the instruction that HART puts in front of prompts.
    Qwen2,
    /// The text encoders of two CLIPs, whose features Switti reads side by side.
    ClipPair,
}

impl TextFamily {
    /// Its name in descriptions.
    fn name(self) -> &'static str {
        match self {
            Self::T5 => "t5",
            Self::Qwen2 => "qwen2",
            Self::ClipPair => "clip-pair",
        }
    }
}

/// The text encoder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Its family, which determines the code that runs it.
    pub family: TextFamily,
    /// A folder with `config.json`, `tokenizer.json` and weights.
    pub weights: String,
    /// The folder of the second encoder of a `clip-pair`, which reads the ids of the first one's
    /// tokenizer.
    pub second: Option<String>,
    /// The only words that the system knows; if absent, it takes any.
    pub words: Option<Vec<String>>,
}

impl Text {
    /// The folders of all encoders.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.weights.as_str()).chain(self.second.as_deref())
    }

    /// The first fault in the values, if any.
    fn fault(&self) -> Option<Error> {
        match (self.family, &self.second) {
            (TextFamily::ClipPair, None) => Some(fault(
                "a text encoder of the family `clip-pair` needs the folder `second`",
                "add `second` to [text]",
            )),
            (TextFamily::T5 | TextFamily::Qwen2, Some(_)) => Some(fault(
                "`second` is for text encoders of the family `clip-pair`",
                "remove `second`",
            )),
            _ => None,
        }
    }
}

/// A scorer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorer {
    /// The kind of scorer, such as `image-reward`.
    pub family: String,
    /// Its weights: a file; for `clip` a Hugging Face folder, for `aesthetic` the head.
    pub weights: String,
    /// The configuration of `image-reward` and `hps`; if absent, a file of the usual name in the
    /// folder, otherwise the released one.
    pub config: Option<String>,
    /// For `image-reward` a WordPiece vocabulary, `vocab.txt` or `tokenizer.json`; for `hps` CLIP's
    /// merges.
    pub vocab: Option<String>,
    /// Attention heads of ImageReward's vision tower, if its width is not a released one.
    pub heads: Option<usize>,
    /// For `aesthetic` the SigLIP below the head: a Hugging Face folder.
    pub encoder: Option<String>,
}

/// Reads one `[scorer]` or several `[[scorer]]`.
fn scorer_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Scorer>, D::Error> {
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

/// The feature extractor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Its family, which determines the code that runs it.
    pub family: FeaturesFamily,
    /// Its weights: a file, or a Hugging Face folder.
    pub weights: String,
    /// Attention heads, if the width is not a released one.
    pub heads: Option<usize>,
    /// Height and width to which images are resized; if absent, 224 by 224.
    pub size: Option<(usize, usize)>,
}

/// A latent verifier: it predicts the final score of candidates that are not finished from their
/// latents. Text encoder and head are those of the scorer that it predicts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verifier {
    /// Its weights: a safetensors file, as `training/train_verifier.py` writes it.
    pub weights: String,
    /// The family of the scorer whose final score it predicts, one of the bundle's.
    pub predicts: String,
    /// The scales after which it was trained to predict. Methods that score unfinished candidates
    /// do so after the first of them unless the user chooses.
    pub scales: Vec<usize>,
    /// The block of the generator, counted from 1, whose output the verifier reads besides the
    /// latents; if absent, it reads latents alone.
    pub hidden_block: Option<usize>,
    /// The predicted score above which `auto` finishes a candidate at once; if absent, that of
    /// images.
    pub above: Option<f32>,
}

impl Description {
    /// Reads and checks a `bundle.toml`.
    ///
    /// # Errors
    /// It is not TOML, has an unknown key, lacks a required one, or a value is out of range.
    pub fn read(toml: &Blob) -> Result<Self> {
        let text = toml.text()?;
        let description: Self = toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let place = line
                .map(|line| format!("line {line}: "))
                .unwrap_or_default();
            let message = error.message().replace('\n', " ");
            Error::file(toml.path(), format!("{place}{message}")).with_hint(parser_hint(&message))
        })?;
        match description.fault() {
            Some(fault) => Err(Error::in_file(toml.path(), fault)),
            None => Ok(description),
        }
    }

    /// The first fault in the values, if any.
    fn fault(&self) -> Option<Error> {
        if self.name.is_empty() || self.files().contains(&"") {
            return Some(fault(
                "`name` and the names of files must not be empty",
                "write a name between the quotation marks",
            ));
        }
        let files = self.files().into_iter();
        if let Some(name) = files.clone().find(|name| plain_name(name).is_none()) {
            let name = name.escape_debug();
            return Some(fault(
                format!("names of files must lie inside the bundle's folder, not `{name}`"),
                "copy or link the file into the folder, and name it there, without `..`",
            ));
        }
        let mut heads: Vec<Option<usize>> = self.scorer.iter().map(|s| s.heads).collect();
        heads.extend(self.features.iter().map(|features| features.heads));
        if heads.contains(&Some(0)) {
            return Some(fault(
                "`heads` must be at least 1",
                "give the number of attention heads; networks of a released width need no `heads`",
            ));
        }
        let size = self.features.as_ref().and_then(|features| features.size);
        for side in size.into_iter().flat_map(|(height, width)| [height, width]) {
            if !(1..=LARGEST).contains(&side) {
                return Some(fault(
                    format!("features: `size` must be 1 to {LARGEST} pixels per side, not {side}"),
                    "leave `size` out for 224 by 224",
                ));
            }
        }
        for (i, Scorer { family, .. }) in self.scorer.iter().enumerate() {
            if self.scorer[..i]
                .iter()
                .any(|before| before.family == *family)
            {
                let message = format!(
                    "two scorers are `{family}`; a bundle can have only one of each family"
                );
                return Some(fault(message, "remove one of them"));
            }
        }
        let verifier = self.verifier.as_ref();
        verifier
            .and_then(|verifier| Some(in_table("verifier", &verifier.fault(self)?)))
            .or_else(|| self.conditioning_fault())
            .or_else(|| self.generator.fault())
            .or_else(|| Some(in_table("defaults", &self.defaults.check_ranges().err()?)))
    }

    /// The first value that does not fit the family of the generator, if any: it reads either texts
    /// or classes.
    fn conditioning_fault(&self) -> Option<Error> {
        let generator = &self.generator;
        let name = generator.family.name();
        let found = self.text.as_ref().map(|text| text.family);
        match (generator.family.text(), found) {
            (None, None) => {}
            (None, Some(_)) => {
                let message = format!("the family `{name}` has no text encoder");
                return Some(fault(message, "remove [text]"));
            }
            (Some(_), None) => {
                return Some(fault(
                    "a table [text] must name the text encoder",
                    "add [text] with its `family` and the folder of its `weights`",
                ));
            }
            _ if generator.classes.is_some() => {
                return Some(fault(
                    "`classes` only applies to the families `var` and `flexar-class`; the other \
                     families are text-conditional",
                    "remove `classes`",
                ));
            }
            (Some(needed), Some(found)) if found != needed => {
                let needed = needed.name();
                let message =
                    format!("the family `{name}` needs a text encoder of the family `{needed}`");
                return Some(fault(
                    message,
                    format!("set family = \"{needed}\" in [text]"),
                ));
            }
            _ => {}
        }
        let source_of_scales = match generator.family {
            GeneratorFamily::Hart => Some("config.json"),
            GeneratorFamily::Switti => Some("the weights"),
            _ => None,
        };
        if let (Some(source), Some(_)) = (source_of_scales, &generator.scales) {
            let message = format!("the family `{name}` takes its scales from {source}");
            return Some(fault(message, "remove `scales`"));
        }
        if let Some(fault) = generator.tokenizer_fault() {
            return Some(fault);
        }
        if let Some(fault) = self.text.as_ref().and_then(Text::fault) {
            return Some(fault);
        }
        if generator.rope_grid.is_some() && generator.family != GeneratorFamily::Infinity {
            return Some(fault(
                "`rope_grid` is for the family `infinity`",
                "remove `rope_grid`",
            ));
        }
        None
    }

    /// The names of all files and folders.
    pub(super) fn files(&self) -> Vec<&str> {
        let mut files = vec![self.generator.weights.as_str(), &self.generator.vae];
        let text = self.text.iter();
        files.extend(text.flat_map(|text| text.folders()));
        for scorer in &self.scorer {
            files.push(&scorer.weights);
            let others = [&scorer.config, &scorer.vocab, &scorer.encoder];
            files.extend(others.into_iter().filter_map(Option::as_deref));
        }
        files.extend(
            self.features
                .iter()
                .map(|features| features.weights.as_str()),
        );
        files.extend(
            self.verifier
                .iter()
                .map(|verifier| verifier.weights.as_str()),
        );
        files
    }
}

/// Maximum number of tokens along a side of a grid, 64 times the largest released one, and of
/// pixels along a side of images for features.
const LARGEST: usize = 4096;

/// The hint for faults without a simple remedy.
const HINT: &str = "docs/weights.md in ttsvar's source describes bundle.toml";

/// A fault in the values, with the remedy.
fn fault(what: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::input(what).with_hint(remedy)
}

/// The same fault as one of a table.
fn in_table(table: &str, error: &Error) -> Error {
    let remedy = error.hint().unwrap_or_else(|| HINT.to_owned());
    fault(format!("{table}: {error}"), remedy)
}

/// The hint for what the parser found.
fn parser_hint(message: &str) -> String {
    let key = message.split('`').nth(1).unwrap_or_default();
    match message {
        _ if message.starts_with("unknown field") => {
            format!("remove `{key}`, or correct its name")
        }
        _ if message.starts_with("missing field") => format!("add `{key}`"),
        _ => HINT.to_owned(),
    }
}

impl Verifier {
    /// The first fault in the values, if any.
    fn fault(&self, bundle: &Description) -> Option<Error> {
        let predicts = &self.predicts;
        let families: Vec<&str> = bundle.scorer.iter().map(|s| s.family.as_str()).collect();
        if !families.contains(&predicts.as_str()) {
            let message = format!(
                "`predicts` must be the family of one of the bundle's scorers, not `{predicts}`"
            );
            let hint = match families.is_empty() {
                true => "add the scorer that it predicts".to_owned(),
                false => format!("the bundle has {}", families.join(", ")),
            };
            return Some(fault(message, hint));
        }
        if self.scales.is_empty() {
            return Some(fault(
                "`scales` must list at least one scale",
                "list those for which it was trained",
            ));
        }
        if self.above.is_some_and(|above| !above.is_finite()) {
            return Some(fault(
                "`above` must be a finite number",
                "leave `above` out to use that of images",
            ));
        }
        let last = bundle.generator.scales.as_deref()?.len().checked_sub(1)?;
        let finished = self.scales.iter().find(|scale| **scale >= last)?;
        Some(fault(
            format!("`scales` must come before the last scale, {last}, not {finished}"),
            format!("remove {finished} from `scales`"),
        ))
    }
}

impl Generator {
    /// The first value that does not fit a family with or without FlexTok, if any.
    fn tokenizer_fault(&self) -> Option<Error> {
        let flextok = matches!(
            self.family,
            GeneratorFamily::FlexAr | GeneratorFamily::FlexArClass
        );
        if flextok && self.scales.is_some() {
            return Some(fault(
                "`scales` are not for the families of FlexAR, which have `prefixes`",
                "remove `scales`",
            ));
        }
        if !flextok && self.prefixes.is_some() {
            return Some(fault(
                "`prefixes` are for the families of FlexAR",
                "remove `prefixes`",
            ));
        }
        match self.vae_groups {
            Some(_) if !flextok => Some(fault(
                "`vae_groups` is for the families of FlexAR",
                "remove `vae_groups`",
            )),
            Some(0) => Some(fault(
                "`vae_groups` must be at least 1",
                "leave it out for 32, as in the published models",
            )),
            _ => None,
        }
    }

    /// The first fault in the values, if any.
    fn fault(&self) -> Option<Error> {
        let scales = self.scales.as_deref();
        if scales.is_some_and(<[_]>::is_empty) {
            return Some(fault(
                "`scales` must list at least one [height, width]",
                "leave `scales` out for the usual ones",
            ));
        }
        if scales.is_none() && self.rope_grid.is_some() {
            return Some(fault(
                "`rope_grid` needs `scales`; the released schedules have their own grid",
                "add `scales`, or remove `rope_grid`",
            ));
        }
        let scales = scales.unwrap_or_default();
        let sizes = scales
            .iter()
            .chain(&self.rope_grid)
            .flat_map(|(h, w)| [*h, *w]);
        if let Some(size) = sizes.into_iter().find(|size| !(1..=LARGEST).contains(size)) {
            return Some(fault(
                format!("grids must have 1 to {LARGEST} tokens per side, not {size}"),
                "a grid is [height, width] in tokens, such as [16, 16]",
            ));
        }
        let shrinks = scales
            .windows(2)
            .position(|pair| pair[1].0 < pair[0].0 || pair[1].1 < pair[0].1)?;
        Some(fault(
            format!(
                "scale {} is smaller than the one before; scales must go from coarse to fine",
                shrinks + 1
            ),
            "order `scales` by size, the smallest first",
        ))
    }
}
