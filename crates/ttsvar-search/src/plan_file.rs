//! Plans as text: plan files in TOML, and the same keys in the JSON of a trace.
//!
//! ```toml
//! start = 8
//!
//! [[stage]]
//! scale = 2
//! width = 6
//! select = { cluster = "pca" }
//! ```

use std::fmt::{Display, LowerExp, Write};

use serde::{Deserialize, Serialize};

use crate::{
    PlanError,
    features::Features,
    number as json_number,
    plan::{Draw, LAMBDA, Plan, Select, Stage},
    potential::Potential,
    verifier::Verifier,
    wrong_value,
};

/// A plan as written, before it is checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanFile {
    start: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "json_number::optional::serialize")]
    enough: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish: Option<usize>,
    #[serde(default, rename = "stage")]
    stages: Vec<StageFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageFile {
    scale: usize,
    width: usize,
    select: Option<SelectFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier: Option<Verifier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<usize>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Features>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resample: Option<Potential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "json_number::optional::serialize")]
    above: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<Dropped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lambda: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draw: Option<Draw>,
}

/// The way to drop rows.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Dropped {
    Random,
}

impl Plan {
    /// Reads a plan file. A resampling stage without `lambda` and `draw` uses 10 and multinomial.
    ///
    /// # Errors
    /// [`PlanError`] names the line if the text is not a plan file, and the scale if the plan
    /// cannot be carried out.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        let file: PlanFile = toml::from_str(text).map_err(|error| unreadable(text, &error))?;
        Self::try_from(file)
    }

    /// The plan as a file that [`Plan::from_toml`] reads back.
    pub fn to_toml(&self) -> String {
        let mut text = format!("start = {}\n", self.start());
        if self.rounds() > 1 || self.enough().is_some() {
            writeln!(text, "rounds = {}", self.rounds()).expect("writing to a string cannot fail");
        }
        if let Some(enough) = self.enough() {
            writeln!(text, "enough = {}", number(enough)).expect("writing to a string cannot fail");
        }
        if self.finish() > 1 {
            writeln!(text, "finish = {}", self.finish()).expect("writing to a string cannot fail");
        }
        for stage in self.stages() {
            write!(
                text,
                "\n[[stage]]\nscale = {}\nwidth = {}\nselect = {}\n",
                stage.scale,
                stage.width,
                inline(&stage.select)
            )
            .expect("writing to a string cannot fail");
            if !stage.verifier.is_image() {
                writeln!(text, "verifier = \"{}\"", stage.verifier)
                    .expect("writing to a string cannot fail");
            }
            if stage.ahead > 0 {
                writeln!(text, "ahead = {}", stage.ahead).expect("writing to a string cannot fail");
            }
        }
        text
    }
}

fn inline(select: &Select) -> String {
    match select {
        Select::Cluster { features } => format!("{{ cluster = \"{features}\" }}"),
        Select::Resample {
            potential,
            lambda,
            draw,
        } => {
            let draw = if *draw == Draw::default() {
                String::new()
            } else {
                format!(", draw = \"{draw}\"")
            };
            format!(
                "{{ resample = \"{potential}\", lambda = {}{draw} }}",
                number(*lambda)
            )
        }
        Select::Top { k } => format!("{{ top = {k} }}"),
        Select::Above { score } => format!("{{ above = {} }}", number(*score)),
        Select::Drop => "{ drop = \"random\" }".to_owned(),
    }
}

/// A number as TOML reads it. TOML takes digits without a fraction for an integer, which must be
/// below 2^63; larger numbers are therefore written with an exponent.
fn number<T: Copy + Into<f64> + Display + LowerExp>(value: T) -> String {
    if value.into().abs() < 1e15 {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

fn unreadable(text: &str, error: &toml::de::Error) -> PlanError {
    let line = error.span().map_or(1, |span| {
        1 + text[..span.start.min(text.len())].matches('\n').count()
    });
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let message = wrong_value::plain(&message);
    PlanError::Syntax { line, message }
}

impl TryFrom<PlanFile> for Plan {
    type Error = PlanError;

    fn try_from(file: PlanFile) -> Result<Self, PlanError> {
        let mut rows = file.start;
        let mut stages = Vec::with_capacity(file.stages.len());
        for stage in file.stages {
            let stage = stage.read(rows)?;
            rows = stage.width;
            stages.push(stage);
        }
        let plan = Self::new(file.start, stages)?.finishing(file.finish.unwrap_or(1))?;
        match (file.rounds, file.enough) {
            (None, None) => Ok(plan),
            (Some(rounds), None) => plan.repeated(rounds),
            (Some(rounds), Some(enough)) => plan.until(rounds, enough),
            (None, Some(_)) => Err(PlanError::EnoughWithoutRounds),
        }
    }
}

impl StageFile {
    /// The checked stage; `rows` is the number of rows that reach it.
    fn read(self, rows: usize) -> Result<Stage, PlanError> {
        let scale = self.scale;
        let width = self.width;
        let select = match self.select {
            Some(select) => select.read(scale)?,
            None => return Err(PlanError::MissingSelect { scale, rows, width }),
        };
        if self.verifier.is_some() && !select.scores() {
            return Err(PlanError::StrayVerifier { scale });
        }
        Ok(Stage {
            scale,
            width,
            select,
            verifier: self.verifier.unwrap_or_default(),
            ahead: self.ahead.unwrap_or_default(),
        })
    }
}

impl SelectFile {
    fn read(self, scale: usize) -> Result<Select, PlanError> {
        if self.resample.is_none() && (self.lambda.is_some() || self.draw.is_some()) {
            return Err(PlanError::StrayResampleOption { scale });
        }
        match (self.cluster, self.resample, self.top, self.above, self.drop) {
            (Some(features), None, None, None, None) => Ok(Select::Cluster { features }),
            (None, Some(potential), None, None, None) => Ok(Select::Resample {
                potential,
                lambda: self.lambda.unwrap_or(LAMBDA),
                draw: self.draw.unwrap_or_default(),
            }),
            (None, None, Some(k), None, None) => Ok(Select::Top { k }),
            (None, None, None, Some(score), None) => Ok(Select::Above { score }),
            (None, None, None, None, Some(Dropped::Random)) => Ok(Select::Drop),
            (cluster, resample, top, above, drop) => {
                let named = [
                    cluster.is_some(),
                    resample.is_some(),
                    top.is_some(),
                    above.is_some(),
                    drop.is_some(),
                ];
                let found = named.into_iter().filter(|named| *named).count();
                Err(PlanError::SelectCount { scale, found })
            }
        }
    }
}

impl From<Plan> for PlanFile {
    fn from(plan: Plan) -> Self {
        let repeats = plan.rounds() > 1 || plan.enough().is_some();
        let rounds = repeats.then(|| plan.rounds());
        Self {
            start: plan.start(),
            rounds,
            enough: plan.enough(),
            finish: (plan.finish() > 1).then(|| plan.finish()),
            stages: plan.stages().iter().map(StageFile::from).collect(),
        }
    }
}

impl From<&Stage> for StageFile {
    fn from(stage: &Stage) -> Self {
        let select = match stage.select {
            Select::Cluster { features } => SelectFile {
                cluster: Some(features),
                ..SelectFile::default()
            },
            Select::Resample {
                potential,
                lambda,
                draw,
            } => SelectFile {
                resample: Some(potential),
                lambda: Some(lambda),
                draw: Some(draw),
                ..SelectFile::default()
            },
            Select::Top { k } => SelectFile {
                top: Some(k),
                ..SelectFile::default()
            },
            Select::Above { score } => SelectFile {
                above: Some(score),
                ..SelectFile::default()
            },
            Select::Drop => SelectFile {
                drop: Some(Dropped::Random),
                ..SelectFile::default()
            },
        };
        Self {
            scale: stage.scale,
            width: stage.width,
            select: Some(select),
            verifier: (!stage.verifier.is_image()).then_some(stage.verifier),
            ahead: (stage.ahead > 0).then_some(stage.ahead),
        }
    }
}
