//! Which plan is wanted, before it is known how many scales the model has.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use crate::{
    Error, Result,
    features::Features,
    hub::description::Defaults,
    search::{Draw, Method, Plan, Potential, Schedule},
};

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
    /// What every clustering is formed on.
    pub features: Option<Features>,
    /// What every resampling makes of scores.
    pub potential: Option<Potential>,
    /// How greedily every resampling weighs scores.
    pub lambda: Option<f64>,
    /// How every resampling draws.
    pub draw: Option<Draw>,
}

impl Wish {
    /// Whether any model could follow such a plan.
    ///
    /// # Errors
    /// The numbers do not go together.
    pub fn check(&self) -> Result<()> {
        const RELEASED_SCALES: usize = 13; // any number does: what depends on it is checked with the model at hand
        self.plan(RELEASED_SCALES, &Defaults::default()).map(|_| ())
    }

    /// The plan for a model of `scales` scales, and the name that it goes by.
    ///
    /// # Errors
    /// The numbers do not go together.
    pub fn plan(&self, scales: usize, defaults: &Defaults) -> Result<(Plan, Named)> {
        let (mut plan, named) = match &self.source {
            Source::Plan(plan, named) => (plan.clone(), *named),
            Source::Method(named) => named.plan(scales, defaults)?,
        };
        let own = matches!(self.source, Source::Plan(..));
        if let Some(lambda) = self.lambda.or(defaults.lambda.filter(|_| !own)) {
            plan = plan.with_lambda(lambda)?;
        }
        if let Some(features) = self.features {
            plan = plan.with_features(features);
        }
        if let Some(potential) = self.potential {
            plan = plan.with_potential(potential);
        }
        if let Some(draw) = self.draw {
            plan = plan.with_draw(draw);
        }
        Ok((plan, named))
    }
}

impl Named {
    fn plan(self, scales: usize, defaults: &Defaults) -> Result<(Plan, Self)> {
        let usual: Method = defaults.method.as_deref().map(str::parse).transpose()?.unwrap_or_default();
        let method = self.method.unwrap_or(usual);
        let n = self.n.unwrap_or(if method == usual { defaults.n.unwrap_or(1) } else { 1 });
        let plan = match (method, self.schedule) {
            (Method::TtsVar, schedule) => Plan::tts_var(scales, n, schedule.unwrap_or_default())?,
            (Method::Auto, None) => match defaults.enough {
                Some(enough) => Plan::auto(scales, n, enough)?,
                None => method.plan(scales, n)?,
            },
            (_, None) => method.plan(scales, n)?,
            (_, Some(_)) => {
                return Err(Error::input(format!("--schedule says how tts-var reads the paper; {method} has none"))
                    .with_hint("leave --schedule out, or choose --method tts-var"));
            }
        };
        let schedule = self.schedule.filter(|_| method == Method::TtsVar);
        Ok((plan, Self { method: Some(method), n: Some(n), schedule }))
    }

    /// The name as traces and pictures record it.
    pub fn recorded(self) -> Map<String, Value> {
        let all = [
            ("method", self.method.map(|method| method.to_string().into())),
            ("n", self.n.map(Value::from)),
            ("schedule", self.schedule.map(|schedule| schedule.to_string().into())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// The plan of a file.
///
/// # Errors
/// It cannot be read, or holds no plan.
pub fn plan_file(path: &Path) -> Result<Plan> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    Plan::from_toml(&text).map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        let error = Error::file(path, error.to_string());
        if let Some(hint) = hint { error.with_hint(hint) } else { error }
    })
}

/// A name for people: `tts-var, N = 1`.
impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(method) = self.method else { return f.write_str("own plan") };
        write!(f, "{method}")?;
        self.n.map_or(Ok(()), |n| write!(f, ", N = {n}"))?;
        match self.schedule {
            Some(schedule) if schedule != Schedule::default() => write!(f, ", schedule {schedule}"),
            _ => Ok(()),
        }
    }
}
