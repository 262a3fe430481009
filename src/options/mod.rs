//! The options of a search, as one flat set.
//!
//! The command line, HTTP, Python, the `[defaults]` of a `bundle.toml` and the record in an image
//! all use this type. To add an option, add a field with its help text here, its range to
//! [`Options::check`], and use it where it takes effect.

mod aspect;
mod per_scale;
mod plan_json;
mod preview;
mod sampling;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use ttsvar_search::{
    Budget, DecodeSize, Drafts, Draw, Features, LAMBDA, MAX_ROWS, Method, Plan, PlanOptions,
    Potential, Schedule, Select, Verifier, number, suggestion::suggest, wrong_value,
};

pub use aspect::Aspect;
pub use per_scale::PerScale;
pub use preview::Preview;
pub use sampling::SamplingPreset;

use crate::{Error, Result, file};
use plan_json::WRONG_PART;

/// The options of a search. Unset ones are filled from the record of an image, then from the
/// bundle's defaults, then from the released values of the model family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct Options {
    /// What the image should not contain
    #[cfg_attr(feature = "cli", arg(long, value_name = "TEXT"))]
    pub negative: Option<String>,
    /// Search method: raw, best-of-n, importance, beam, draft, sequential, auto or tts-var [default: the model's,
    /// usually tts-var]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "METHOD", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Method>, conflicts_with = "plan"))]
    pub method: Option<Method>,
    /// Width of the search; what N counts depends on the method [default: the model's, usually 1]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Search"))]
    #[cfg_attr(feature = "cli", arg(value_parser = whole::<usize>, conflicts_with = "plan"))]
    pub n: Option<usize>,
    /// Reading of the paper's schedule by tts-var: released or paper [default: released]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "READING", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Schedule>, conflicts_with = "plan"))]
    pub schedule: Option<Schedule>,
    /// A plan file, as `ttsvar plan --toml` prints it
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "FILE", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = plan_argument))]
    #[serde(deserialize_with = "plan_or_its_text")]
    pub plan: Option<Plan>,
    /// Features to cluster on: pca, pca-raw, pca-all, pool or latent
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "KIND", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Features>))]
    pub features: Option<Features>,
    /// Potential that resampling derives from scores: value, diff, max or sum
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "KIND", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Potential>))]
    pub potential: Option<Potential>,
    /// Greediness of resampling: weights are exp(lambda * potential); 0 draws evenly
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = number::<f64>))]
    pub lambda: Option<f64>,
    /// How resampling draws: multinomial or systematic
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
    /// Score above which method auto finishes a candidate at once [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "SCORE", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = number::<f32>, allow_negative_numbers = true))]
    #[serde(with = "number::optional")]
    pub above: Option<f32>,
    /// Candidates that methods auto and draft finish at least [default: 2; a quarter of N]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Search"))]
    #[cfg_attr(feature = "cli", arg(value_parser = whole::<usize>))]
    pub finish: Option<usize>,
    /// What is scored before the last scale: image or latent [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "KIND", help_heading = "Search")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Verifier>))]
    pub verifier: Option<Verifier>,
    /// What the search may spend, such as 60s, 2PFLOP or 3images: it goes on with new candidates
    /// while they fit, and Ctrl-C returns the best image so far
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
    /// Published settings of sampling: tts-var, infinity-eval, infinity-demo or soto; the following options win
    /// over it
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NAME", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<SamplingPreset>))]
    pub sampling: Option<SamplingPreset>,
    /// Guidance strength, or a list over the scales such as 3,3,1; 1 turns guidance off [default:
    /// the model's]
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
    /// Temperature, above 0, or a list over the scales such as 1,1,0.5 [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER,...", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = per_scale))]
    pub tau: Option<PerScale>,
    /// Keep the most likely values up to this total probability, 0 to 1, or a list over the scales;
    /// 0 keeps all [default: the model's]
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
    /// Record entropy and log-likelihood of the drawn tokens in the trace
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
    /// Width to height, from 1:3 to 3:1 [default: 1:1]
    #[cfg_attr(feature = "cli", arg(long, value_name = "W:H", help_heading = "Image"))]
    #[cfg_attr(feature = "cli", arg(value_parser = parse::<Aspect>))]
    pub aspect: Option<Aspect>,
    /// Image size in pixels, such as 0.06M, 0.25M, 0.60M or 1M [default: the model's]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "SIZE", help_heading = "Image")
    )]
    pub pixels: Option<String>,
    /// Random seed; prompt lists count up from it; -1 draws a new one [default: a new one each time]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "NUMBER", help_heading = "Image")
    )]
    #[cfg_attr(feature = "cli", arg(value_parser = seed))]
    pub seed: Option<u64>,
}

/// The options that choose the search; the others describe the image.
const SEARCH_OPTIONS: [&str; 15] = [
    "negative",
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
    /// Checks everything that does not depend on the model.
    ///
    /// # Errors
    /// A value is out of range, or two options contradict each other.
    pub fn check(&self) -> Result<()> {
        self.check_ranges()?;
        self.check_search()
    }

    /// Checks every value by itself.
    ///
    /// # Errors
    /// A value is out of range.
    pub fn check_ranges(&self) -> Result<()> {
        let in_range = |name: &str, ok: bool, range: &str, found: String, hint: &str| match ok {
            true => Ok(()),
            false => {
                Err(Error::input(format!("{name} must be {range}, found {found}")).with_hint(hint))
            }
        };
        let number_in_range = |name, value: Option<f32>, ok: fn(f32) -> bool, range, hint| {
            value.map_or(Ok(()), |value| {
                in_range(name, ok(value), range, value.to_string(), hint)
            })
        };
        let numbers_in_range =
            |name, values: &Option<PerScale>, ok: fn(f32) -> bool, range, hint| {
                let mut values = values.iter().flat_map(|values| values.named(name));
                values.try_for_each(|(name, value)| {
                    in_range(&name, ok(value), range, value.to_string(), hint)
                })
            };
        numbers_in_range(
            "cfg",
            &self.cfg,
            f32::is_finite,
            "a finite number",
            "3 is usual; 1 turns guidance off",
        )?;
        numbers_in_range(
            "tau",
            &self.tau,
            |tau| tau.is_finite() && tau > 0.0,
            "greater than 0",
            "0.5 is usual; near 0 takes the more likely value of each bit",
        )?;
        numbers_in_range(
            "top-p",
            &self.top_p,
            |top_p| (0.0..=1.0).contains(&top_p),
            "from 0 to 1",
            "0.97 is usual; 0 turns it off",
        )?;
        number_in_range(
            "above",
            self.above,
            f32::is_finite,
            "a finite score",
            "a candidate with this score finishes at once, others wait",
        )?;
        in_range(
            "finish",
            self.finish != Some(0),
            "1 or more",
            "0".to_owned(),
            "it is the least number of candidates that finish",
        )?;
        number_in_range(
            "enough",
            self.enough,
            f32::is_finite,
            "a finite score",
            "the search stops as soon as a finished image reaches it",
        )?;
        in_range(
            "the guidance layer",
            self.cfg_layer != Some(0),
            "1 or more",
            "0".to_owned(),
            "1 is the last block",
        )?;
        in_range(
            "n",
            self.n != Some(0),
            "1 or more",
            "0".to_owned(),
            "leave it out for the model's default",
        )?;
        let lambda = self.lambda.unwrap_or(LAMBDA);
        in_range(
            "lambda",
            lambda.is_finite() && lambda >= 0.0,
            "a finite number, 0 or more",
            lambda.to_string(),
            "10 is the paper's; 0 draws evenly, larger values favour high scores",
        )
    }

    /// Checks that no option has more values than a model has scales.
    ///
    /// # Errors
    /// A list is longer; the error names both numbers.
    pub fn check_lengths(&self, scales: usize) -> Result<()> {
        let lists = [
            ("cfg", &self.cfg),
            ("tau", &self.tau),
            ("top-p", &self.top_p),
        ];
        for (name, values) in lists {
            let count = values.as_ref().map_or(1, PerScale::count);
            if count > scales.max(1) {
                return Err(Error::input(format!(
                    "{name} has {count} values, but the model has {scales} scales"
                ))
                .with_hint("give one value, or up to one for each scale; the last one continues"));
            }
        }
        Ok(())
    }

    /// The size at which candidates that are not finished are decoded.
    pub(crate) fn decode_size(&self) -> DecodeSize {
        self.preview.map_or(DecodeSize::Full, |preview| preview.0)
    }

    fn check_search(&self) -> Result<()> {
        let by_method = self.method.is_some() || self.n.is_some() || self.schedule.is_some();
        if self.plan.is_some() && by_method {
            return Err(
                Error::input("a plan already sets the method, its N and its schedule")
                    .with_hint("leave method, n and schedule out, or leave the plan out"),
            );
        }
        if self.schedule.is_some() && self.method.is_some_and(|method| method != Method::TtsVar) {
            let method = self.method.unwrap_or_default();
            return Err(Error::input(format!(
                "--schedule is an option of method tts-var, not of {method}"
            ))
            .with_hint("leave --schedule out, or choose --method tts-var"));
        }
        self.check_methods_of(
            "--enough",
            self.enough.is_some(),
            &[Method::Sequential, Method::Auto],
        )?;
        self.check_methods_of("--above", self.above.is_some(), &[Method::Auto])?;
        self.check_methods_of(
            "--finish",
            self.finish.is_some(),
            &[Method::Draft, Method::Auto],
        )?;
        if self.budget.is_some() && self.n.is_some() {
            return Err(Error::input(
                "a budget decides how many candidates there are, and so does n",
            )
            .with_hint("leave one of them out"));
        }
        // The checks of a plan do not depend on the number of scales.
        const ANY_SCALES: usize = 13;
        self.plan_for(ANY_SCALES, Drafts::default())?;
        Ok(())
    }

    /// Checks that the method, if it is given, is one of those that have this option.
    fn check_methods_of(&self, flag: &str, set: bool, methods: &[Method]) -> Result<()> {
        match self.method {
            Some(method) if set && !methods.contains(&method) => {
                let names: Vec<String> = methods.iter().map(Method::to_string).collect();
                let names = names.join(" or ");
                Err(Error::input(format!(
                    "{flag} is an option of method {names}, not of {method}"
                ))
                .with_hint(format!("leave {flag} out, or choose --method {names}")))
            }
            _ => Ok(()),
        }
    }

    /// The plan that these options describe for a model of `scales` scales, whose unfinished
    /// candidates are scored as `drafts` says unless the options choose another verifier.
    ///
    /// # Errors
    /// The numbers do not fit together.
    pub fn plan_for(&self, scales: usize, drafts: Drafts) -> Result<Plan> {
        let drafts = Drafts {
            finish: self.finish,
            ..drafts.with_verifier(self.verifier)
        };
        let method = self.method.unwrap_or_default();
        let n = match (self.budget, method) {
            (None, _) => self.n.unwrap_or(1),
            // What a round consists of; the budget decides how many there are.
            (Some(_), Method::Draft | Method::Beam) => 4,
            (Some(_), Method::Sequential | Method::Auto) => MAX_ROWS,
            (Some(_), _) => 1,
        };
        let plan = match (&self.plan, method) {
            (Some(plan), _) => plan.clone(),
            (None, Method::TtsVar) => Plan::tts_var(scales, n, self.schedule.unwrap_or_default())?,
            (None, method) => method.plan_for(scales, n, drafts)?,
        };
        let plan = plan.with(self.plan_options())?;
        Ok(match self.budget {
            Some(_) => plan.unlimited(),
            None => plan,
        })
    }

    /// The flags of set options for which a plan of `scales` scales has no use, each with the reason.
    pub fn unused_by(&self, plan: &Plan, scales: usize) -> Vec<(&'static str, &'static str)> {
        let selects = || plan.stages().iter().map(|stage| stage.select);
        let clusters = selects().any(|select| matches!(select, Select::Cluster { .. }));
        let resamples = selects().any(|select| matches!(select, Select::Resample { .. }));
        let decodes = plan.decodes(scales);
        let previews = decodes.iter().rev().skip(1).any(|images| *images > 0);
        let mut unused = vec![];
        let mut check = |is_set: bool, used: bool, flag, reason| {
            if is_set && !used {
                unused.push((flag, reason));
            }
        };
        let no_resampling = "does not resample";
        check(
            self.features.is_some(),
            clusters,
            "--features",
            "does not cluster",
        );
        check(
            self.potential.is_some(),
            resamples,
            "--potential",
            no_resampling,
        );
        check(self.lambda.is_some(), resamples, "--lambda", no_resampling);
        check(self.draw.is_some(), resamples, "--draw", no_resampling);
        let suspends = plan.suspends();
        check(
            self.above.is_some(),
            suspends,
            "--above",
            "suspends no candidates",
        );
        let finishes = suspends || self.method == Some(Method::Draft);
        check(
            self.finish.is_some(),
            finishes,
            "--finish",
            "suspends no candidates",
        );
        let scores = selects().any(|select| select.scores());
        check(
            self.verifier.is_some(),
            scores,
            "--verifier",
            "scores finished images only",
        );
        let no_previews = "looks at finished images only";
        check(self.preview.is_some(), previews, "--preview", no_previews);
        let stops = plan.enough().is_some();
        check(
            self.enough.is_some(),
            stops,
            "--enough",
            "does not stop early",
        );
        unused
    }

    /// The options that apply to a plan.
    pub fn plan_options(&self) -> PlanOptions {
        PlanOptions {
            features: self.features,
            potential: self.potential,
            lambda: self.lambda,
            draw: self.draw,
            verifier: self.verifier,
            above: self.above,
            enough: self.enough,
            finish: self.finish,
        }
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
            fallback.keep_choices_of_plan();
            if chosen
                .method
                .is_some_and(|method| method != fallback.method.unwrap_or_default())
            {
                fallback.n = None;
                fallback.schedule = None;
            }
        }
        let mut merged = fallback.to_map();
        merged.extend(chosen.to_map());
        Self::from_map(&merged).expect("options read back what they wrote")
    }

    /// These options with the values of the sampling preset instead of its name.
    pub fn with_preset_values(mut self) -> Self {
        match self.sampling.take() {
            Some(preset) => self.or(&preset.options()),
            None => self,
        }
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

/// Parses a whole number.
pub fn whole<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number, 0 or more")
}

/// Parses a seed; -1 stands for a new one, as in other programs.
///
/// # Errors
/// It is neither a whole number nor -1.
pub fn seed(text: &str) -> Result<u64, &'static str> {
    match text {
        "-1" => Ok(new_seed()),
        _ => whole(text).map_err(|_| "expected a whole number, 0 or more, or -1 for a new seed"),
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
        .map_err(|_| "expected a number, or one for each scale with commas between them")
}

#[cfg(feature = "cli")]
fn plan_argument(path: &str) -> Result<Plan> {
    plan_file(Path::new(path))
}
