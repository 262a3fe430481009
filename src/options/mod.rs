//! The options of a search, as one flat set.
//!
//! The command line, HTTP, Python, the `[defaults]` of a `bundle.toml` and the record in an image
//! all use this type. To add an option, add a field with its help text here, its range to
//! [`Options::check`], and use it where it takes effect.

mod aspect;
mod check;
mod class;
mod per_scale;
mod plan;
mod plan_json;
mod preview;
mod questions;
mod sampling;
mod steer;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    num::{IntErrorKind, ParseIntError},
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use ttsvar_search::{
    Budget, DecodeSize, Draw, Features, Method, Plan, Potential, Schedule, Select, Verifier,
    number, suggestion::suggest, wrong_value,
};

pub use aspect::Aspect;
pub use class::ClassChoice;
pub use per_scale::PerScale;
pub use preview::Preview;
pub use questions::{ListedQuestion, PromptQuestions, QuestionMean, Questions, YES};
pub use sampling::SamplingPreset;
pub use steer::{Places, Steer, SteerOptions};

use crate::{Error, Result, file};
use plan_json::WRONG_PART;

/// The place of options in help texts whose heading belongs to other arguments.
#[cfg(feature = "cli")]
const LAST: usize = 1000;

/// The options of a search. Unset ones are filled from the record of an image, then from the
/// bundle's defaults, then from the released values of the model family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct Options {
    /// What the image should not contain
    #[cfg_attr(feature = "cli", arg(long, value_name = "TEXT"))]
    pub negative: Option<String>,
    /// Class of the image, in place of a prompt, for class-conditional models such as var-d30: its
    /// number, its name or the first words of its name
    #[cfg_attr(feature = "cli", arg(long, value_name = "CLASS"))]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<ClassChoice>))]
    pub class: Option<ClassChoice>,
    /// Search method: raw, best-of-n, importance, beam, lookahead, draft, sequential, auto or
    /// tts-var [default: auto with the scorer image-reward or demo-reward, draft with any other or
    /// a mix]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "METHOD", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Method>, conflicts_with = "plan"))]
    pub method: Option<Method>,
    /// Width of the search; what N counts depends on the method [default: the method's, such as 16
    /// for auto]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Search"))]
    #[cfg_attr(feature = "cli", arg(value_parser = positive::<usize>, conflicts_with = "plan"))]
    pub n: Option<usize>,
    /// Schedule that tts-var follows: released (as in its code) or paper [default: released]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NAME", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Schedule>, conflicts_with = "plan"))]
    pub schedule: Option<Schedule>,
    /// Plan file, as printed by `ttsvar plan --toml`
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "FILE", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = plan_argument))]
    #[serde(deserialize_with = "plan_or_its_text")]
    pub plan: Option<Plan>,
    /// Features to cluster on: pca (DINOv2 patches, projected onto the first principal component of
    /// each image), pca-raw (the same with the sign that the decomposition returns), pca-all (one
    /// component for all images), pool (the mean of the patches) or latent (the latent itself,
    /// without a decode or a network) [default: pca]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "KIND", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Features>))]
    pub features: Option<Features>,
    /// Potential that resampling derives from the scores of a candidate: value (the latest), diff
    /// (the latest minus the previous one), max (the best so far) or sum (of all so far) [default:
    /// value]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "KIND", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Potential>))]
    pub potential: Option<Potential>,
    /// How strongly resampling favours high scores: weights are exp(lambda * potential); 0 draws
    /// uniformly [default: the model's, usually 10]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = number::<f64>))]
    pub lambda: Option<f64>,
    /// How resampling draws: multinomial (each draw is independent) or systematic (each candidate
    /// is drawn its expected number of times, rounded up or down) [default: multinomial]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "KIND", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Draw>))]
    pub draw: Option<Draw>,
    /// Score at which methods auto and sequential stop [default: the model's, usually 1]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "SCORE", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = number::<f32>))]
    #[serde(with = "number::optional")]
    pub enough: Option<f32>,
    /// Score from which method auto finishes a candidate immediately [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "SCORE", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = number::<f32>, allow_negative_numbers = true))]
    #[serde(with = "number::optional")]
    pub above: Option<f32>,
    /// Number of candidates that draft finishes, and auto unless an image scores --enough [default: 2
    /// for auto, a quarter of N for draft]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Search"))]
    #[cfg_attr(feature = "cli", arg(value_parser = positive::<usize>))]
    pub finish: Option<usize>,
    /// What is scored before the last scale: image or latent [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "KIND", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Verifier>))]
    pub verifier: Option<Verifier>,
    /// Budget of the search, such as 60s, 2PFLOP or 3images: it starts new candidates as long as
    /// they fit into the budget, and Ctrl-C returns the best image so far
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "AMOUNT", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Budget>, conflicts_with = "n"))]
    pub budget: Option<Budget>,
    /// Size of the images that are scored before the last scale: full, or pixels along the shorter
    /// side [default: full]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "full|PIXELS", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Preview>))]
    pub preview: Option<Preview>,
    /// Published sampling settings: tts-var, infinity-eval, infinity-demo or soto; the options
    /// below override them
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NAME", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<SamplingPreset>))]
    pub sampling: Option<SamplingPreset>,
    /// Guidance strength, or one value per scale, such as 3,3,1; 1 turns guidance off (for VAR,
    /// HART and Switti: 0) [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER,...", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = per_scale))]
    pub cfg: Option<PerScale>,
    /// Apply guidance to the output of the N-th block from the end instead of to the logits
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Image"))]
    #[cfg_attr(feature = "cli", arg(value_parser = whole::<usize>))]
    pub cfg_layer: Option<usize>,
    /// Temperature, above 0, or one value per scale, such as 1,1,0.5 [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER,...", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = per_scale))]
    pub tau: Option<PerScale>,
    /// Keep the most likely values up to this cumulative probability, from 0 to 1, or one value per
    /// scale; 0 keeps all [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER,...", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = per_scale))]
    pub top_p: Option<PerScale>,
    /// Keep the N most likely values; 0 keeps all [default: the model's]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Image"))]
    #[cfg_attr(feature = "cli", arg(value_parser = whole::<usize>))]
    pub top_k: Option<usize>,
    /// Steer the concepts in the prompt to regions of the image: auto (from the relations in the
    /// prompt), a TOML or JSON file with boxes, or off [default: off]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "auto|off|FILE", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = Steer::from_argument))]
    pub steer: Option<Steer>,
    /// Blend codes instead of sampling them, for smoother images (VAR, HART and Switti only)
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "BOOL", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(num_args = 0..=1, require_equals = true))]
    #[cfg_attr(
        feature = "cli",
        arg(default_missing_value = "true", hide_possible_values = true)
    )]
    pub more_smooth: Option<bool>,
    /// Record the entropy and log-likelihood of the sampled tokens in the trace
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "BOOL", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(num_args = 0..=1, require_equals = true))]
    #[cfg_attr(
        feature = "cli",
        arg(default_missing_value = "true", hide_possible_values = true)
    )]
    pub token_statistics: Option<bool>,
    /// Steps in which FlexTok's decoder turns noise into an image [default: the model's, usually 25]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Image"))]
    #[cfg_attr(feature = "cli", arg(value_parser = positive::<usize>))]
    pub decoder_steps: Option<usize>,
    /// Number of decoder steps for images scored before the last scale [default: same as
    /// --decoder-steps]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Image"))]
    #[cfg_attr(feature = "cli", arg(value_parser = positive::<usize>))]
    pub preview_steps: Option<usize>,
    /// Guidance strength of FlexTok's decoder; 1 turns it off [default: the model's, usually 7.5]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = number::<f32>))]
    #[serde(with = "number::optional")]
    pub decoder_cfg: Option<f32>,
    /// Sample tokens as the released FlexAR code does: copies of a candidate differ only in the
    /// last token of a scale, and class guidance is relative to class 0
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "BOOL", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(num_args = 0..=1, require_equals = true))]
    #[cfg_attr(
        feature = "cli",
        arg(default_missing_value = "true", hide_possible_values = true)
    )]
    pub as_released: Option<bool>,
    /// Aspect ratio, width to height, from 1:3 to 3:1 [default: 1:1]
    #[cfg_attr(feature = "cli", arg(long, value_name = "W:H", help_heading = "Image"))]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Aspect>))]
    pub aspect: Option<Aspect>,
    /// Image size in pixels: 0.06M (256 x 256 at an aspect of 1:1), 0.25M (512 x 512), 0.60M (768 x
    /// 768) or 1M (1024 x 1024) [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "SIZE", help_heading = "Image")
    )]
    pub pixels: Option<String>,
    /// Random seed; lists of prompts count up from it; -1 picks a random one [default: random]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = seed))]
    pub seed: Option<u64>,
    /// Questions for vqa and openai to answer in place of the prompt; the score is the mean of the
    /// answers; auto derives the questions from the prompt, a file lists them for each prompt
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "auto|FILE", help_heading = "Model", display_order = LAST)
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = Questions::from_argument))]
    pub questions: Option<Questions>,
    /// Mean of the answers: arithmetic or geometric [default: arithmetic]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "MEAN", help_heading = "Model", display_order = LAST + 1)
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<QuestionMean>))]
    pub question_mean: Option<QuestionMean>,
}

/// The options that choose the search; the others describe the image.
const SEARCH_OPTIONS: [&str; 16] = [
    "negative",
    "class",
    "method",
    "n",
    "schedule",
    "plan",
    "features",
    "potential",
    "lambda",
    "draw",
    "enough",
    "above",
    "finish",
    "verifier",
    "budget",
    "preview",
];

impl Options {
    /// The size at which candidates that are not finished are decoded.
    pub(crate) fn decode_size(&self) -> DecodeSize {
        self.preview.map_or(DecodeSize::Full, |preview| preview.0)
    }

    /// These options, with unset ones filled from `fallback`.
    ///
    /// The settings of a sampling preset count as set where the preset is, but for options that are
    /// set beside it. The result contains them instead of the preset's name.
    ///
    /// A plan and a method exclude each other: a plan here hides the fallback's method and stage
    /// options, a method here hides the fallback's plan, and a method other than the fallback's
    /// hides the fallback's N.
    pub fn or(self, fallback: &Self) -> Self {
        let chosen = self.with_preset_values();
        let mut fallback = fallback.clone().with_preset_values();
        if chosen.plan.is_some() {
            fallback = Self {
                method: None,
                n: None,
                schedule: None,
                plan: None,
                features: None,
                potential: None,
                lambda: None,
                draw: None,
                enough: None,
                above: None,
                finish: None,
                verifier: None,
                ..fallback
            };
        } else if chosen.method.is_some() || chosen.n.is_some() || chosen.schedule.is_some() {
            let method = fallback.method.unwrap_or_default();
            match chosen.method {
                Some(other) if other != method => {
                    fallback.n = None;
                    fallback.schedule = None;
                }
                _ => fallback.finish = fallback.finish.or(fallback.finish_of_plan()),
            }
            fallback.keep_choices_of_plan();
        }
        let mut merged = fallback.to_map();
        merged.extend(chosen.to_map());
        let merged = Self::from_map(&merged).expect("options read back what they wrote");
        Self {
            // A map does not say from which file it is.
            steer: chosen.steer.or(fallback.steer),
            ..merged
        }
    }

    /// These options with a method, if they have neither a method nor a plan.
    pub fn with_usual_method(mut self, usual: Method) -> Self {
        if self.plan.is_none() {
            self.method.get_or_insert(usual);
        }
        self
    }

    /// These options with the values of the sampling preset instead of its name.
    pub fn with_preset_values(mut self) -> Self {
        match self.sampling.take() {
            Some(preset) => self.or(&preset.options()),
            None => self,
        }
    }

    /// The number of candidates that finish by the plan, if it is not the usual one of the method.
    fn finish_of_plan(&self) -> Option<usize> {
        let plan = self.plan.as_ref()?;
        let usual = self.method?.usual_finish(plan.start())?;
        let finish = match plan.suspends() {
            true => plan.finish(),
            false => plan.stages().last()?.width,
        };
        Some(finish).filter(|finish| *finish != usual)
    }

    /// Replaces the plan by the options of its stages, for another plan to use.
    fn keep_choices_of_plan(&mut self) {
        let Some(plan) = self.plan.take() else {
            return;
        };
        self.enough = self.enough.or(plan.enough());
        for stage in plan.stages() {
            match stage.select {
                Select::Cluster { features } => {
                    self.features.get_or_insert(features);
                }
                Select::Resample {
                    potential,
                    lambda,
                    draw,
                } => {
                    self.potential.get_or_insert(potential);
                    self.lambda.get_or_insert(lambda);
                    self.draw.get_or_insert(draw);
                }
                Select::Above { score } => {
                    self.above.get_or_insert(score);
                }
                Select::Top { .. } | Select::Drop => {}
            }
            if stage.select.scores() {
                self.verifier.get_or_insert(stage.verifier);
            }
        }
    }

    /// The options that are set, by name, in the order of the fields.
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self).expect("options can always be written as JSON") {
            Value::Object(map) => map
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect(),
            _ => unreachable!("options are an object"),
        }
    }

    /// Reads options by name.
    ///
    /// # Errors
    /// A name is unknown, or a value has the wrong type; the message names it.
    pub fn from_map(map: &Map<String, Value>) -> Result<Self> {
        for (name, value) in map {
            match name.as_str() {
                _ if value.is_null() => {}
                "steer" => _ = Steer::from_json(value)?,
                "questions" => _ = Questions::from_json(value)?,
                _ => {}
            }
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            if let Err(error) = Self::deserialize(Value::Object(alone)) {
                return Err(unreadable(name, value, &error.to_string()));
            }
        }
        Self::deserialize(Value::Object(map.clone()))
            .map_err(|error| Error::input(error.to_string()))
    }

    /// The first set option that chooses the search, for callers that choose it themselves.
    pub fn search_option(&self) -> Option<&'static str> {
        let set = self.to_map();
        SEARCH_OPTIONS
            .into_iter()
            .find(|name| set.contains_key(*name))
    }

    /// The names of all options, in the order of the fields.
    pub fn names() -> Vec<String> {
        match serde_json::to_value(Self::default()) {
            Ok(Value::Object(map)) => map.keys().cloned().collect(),
            _ => unreachable!("options are an object"),
        }
    }
}

/// The error for an option that serde cannot read: its list of known names becomes the hint.
fn unreadable(name: &str, value: &Value, error: &str) -> Error {
    if let Some(message) = error.strip_prefix(WRONG_PART) {
        return split_names(message);
    }
    let about_number = error.contains("untagged enum Number") || error.contains("a number, `nan`");
    if let Some((scale, value)) = first_non_number(value).filter(|_| about_number) {
        return Error::input(format!(
            "{name} at scale {scale} is {value}, expected a number"
        ));
    }
    if error.contains("untagged enum Number") {
        return Error::input(format!("{name} is {value}, expected a number"));
    }
    if error.starts_with("unknown") {
        let message = error.replace("unknown variant", "unknown value");
        return match message.strip_prefix("unknown field") {
            Some(rest) => split_names(&format!("unknown option{rest}")),
            None => split_names(&format!("`{name}`: {message}")),
        };
    }
    Error::input(wrong_value::sentence(name, error))
}

/// The first value of a list over the scales that is not a number, with its scale.
fn first_non_number(list: &Value) -> Option<(usize, &Value)> {
    let mut values = list.as_array()?.iter().enumerate();
    values.find(|(_, value)| number::deserialize(*value).is_err())
}

/// A message whose list of expected names becomes the hint.
fn split_names(message: &str) -> Error {
    match message.split_once(", expected one of") {
        Some((message, names)) => {
            let typed = message.rsplit('`').nth(1).unwrap_or_default();
            let known: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
            let expected = format!("expected one of{names}");
            Error::input(message).with_hint(suggest(typed, &known, &expected))
        }
        None => Error::input(message),
    }
}

/// Reads a plan file.
///
/// # Errors
/// The file cannot be read, or is not a plan.
pub fn plan_file(path: &Path) -> Result<Plan> {
    let text = file::read_text(path)?;
    Plan::from_toml(&text).map_err(|error| Error::in_file(path, error))
}

/// A plan as the text of a plan file, or as an object with the same keys.
fn plan_or_its_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Plan>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Plan::from_toml(&text).map(Some).map_err(D::Error::custom),
        keys => plan_json::read(&keys).map(Some).map_err(D::Error::custom),
    }
}

/// Parses a value of the command line into its type.
pub fn parse<T: FromStr<Err: Into<Error>>>(text: &str) -> Result<T> {
    text.parse().map_err(Into::into)
}

/// Parses an integer.
pub fn whole<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, &'static str> {
    integer(text, "expected a non-negative integer")
}

/// Parses an integer; 0 is rejected later, for every front end.
#[cfg(feature = "cli")]
pub(crate) fn positive<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, &'static str> {
    integer(text, "expected a positive integer")
}

fn integer<T: FromStr<Err = ParseIntError>>(
    text: &str,
    expected: &'static str,
) -> Result<T, &'static str> {
    text.parse()
        .map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => "this number is too large",
            _ => expected,
        })
}

/// Parses a seed; -1 stands for a new one, as in other programs.
///
/// # Errors
/// It is neither such an integer nor -1.
pub fn seed(text: &str) -> Result<u64, &'static str> {
    match text {
        "-1" => Ok(new_seed()),
        _ => whole(text).map_err(|_| "expected an integer from 0 to 18446744073709551615, or -1"),
    }
}

/// A random seed, short enough to type.
pub fn new_seed() -> u64 {
    // The hasher's keys come from the system's random numbers.
    RandomState::new().build_hasher().finish() & u64::from(u32::MAX)
}

/// Parses a number.
pub fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "expected a number")
}

/// Parses a number, or numbers for the scales.
#[cfg(feature = "cli")]
fn per_scale(text: &str) -> Result<PerScale, &'static str> {
    text.parse()
        .map_err(|_| "expected a number, or a comma-separated list with one number per scale")
}

#[cfg(feature = "cli")]
fn plan_argument(path: &str) -> Result<Plan> {
    plan_file(Path::new(path))
}
