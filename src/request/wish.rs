//! Which plan is wanted, before it is known how many scales the model has.

use std::{fs, path::Path};

use serde_json::{Map, Value};
use ttsvar_search::{Method, Plan, Schedule, StageOptions};

use crate::{Error, Result, hub::description::Defaults};

/// Where the plan comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A method; what is left open is the model's.
    Method(Named),
    /// A plan that is there already, and the name that it goes by.
    Plan(Plan, Named),
}

/// A method by name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Named {
    /// The method; the model's own where none is named.
    pub method: Option<Method>,
    /// How wide to search.
    pub n: Option<usize>,
    /// How `tts-var` reads the paper's widths.
    pub schedule: Option<Schedule>,
}

/// A plan in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The method or plan.
    pub source: Source,
    /// How its stages choose.
    pub choices: StageOptions,
}

impl Wish {
    /// Whether any model could follow such a plan.
    ///
    /// # Errors
    /// The numbers do not go together.
    pub fn check(&self) -> Result<()> {
        // Any number does: what depends on it is checked with the model at hand
        const RELEASED_SCALES: usize = 13;
        self.plan(RELEASED_SCALES, &Defaults::default()).map(|_| ())
    }

    /// The plan for a model of `scales` scales, and the name that it goes by.
    ///
    /// # Errors
    /// The numbers do not go together.
    pub fn plan(&self, scales: usize, defaults: &Defaults) -> Result<(Plan, Named)> {
        let (plan, named) = match &self.source {
            Source::Plan(plan, named) => (plan.clone(), *named),
            Source::Method(named) => named.plan(scales, defaults)?,
        };
        let own = matches!(self.source, Source::Plan(..));
        let lambda = self.choices.lambda.or(defaults.lambda.filter(|_| !own));
        Ok((
            plan.with(StageOptions {
                lambda,
                ..self.choices
            })?,
            named,
        ))
    }
}

impl Named {
    fn plan(self, scales: usize, defaults: &Defaults) -> Result<(Plan, Self)> {
        let usual: Method = defaults
            .method
            .as_deref()
            .map(str::parse)
            .transpose()?
            .unwrap_or_default();
        let method = self.method.unwrap_or(usual);
        let n = self.n.unwrap_or(if method == usual {
            defaults.n.unwrap_or(1)
        } else {
            1
        });
        let plan = match (method, self.schedule) {
            (Method::TtsVar, schedule) => Plan::tts_var(scales, n, schedule.unwrap_or_default())?,
            (Method::Auto, None) => match defaults.enough {
                Some(enough) => Plan::auto(scales, n, enough)?,
                None => method.plan(scales, n)?,
            },
            (_, None) => method.plan(scales, n)?,
            (_, Some(_)) => {
                return Err(Error::input(format!(
                    "--schedule says how tts-var reads the paper; {method} has none"
                ))
                .with_hint("leave --schedule out, or choose --method tts-var"));
            }
        };
        let schedule = self.schedule.filter(|_| method == Method::TtsVar);
        Ok((
            plan,
            Self {
                method: Some(method),
                n: Some(n),
                schedule,
            },
        ))
    }

    /// The name as traces and pictures record it.
    pub fn recorded(self) -> Map<String, Value> {
        let all = [
            (
                "method",
                self.method.map(|method| method.to_string().into()),
            ),
            ("n", self.n.map(Value::from)),
            (
                "schedule",
                self.schedule.map(|schedule| schedule.to_string().into()),
            ),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

/// The plan of a file.
///
/// # Errors
/// It cannot be read, or holds no plan.
pub fn plan_file(path: &Path) -> Result<Plan> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    Plan::from_toml(&text).map_err(|error| Error::in_file(path, error))
}

/// A name for people: `tts-var, N = 1`.
impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(method) = self.method else {
            return f.write_str("own plan");
        };
        write!(f, "{method}")?;
        self.n.map_or(Ok(()), |n| write!(f, ", N = {n}"))?;
        match self.schedule {
            Some(schedule) if schedule != Schedule::default() => write!(f, ", schedule {schedule}"),
            _ => Ok(()),
        }
    }
}
