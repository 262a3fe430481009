//! Which plan is wanted, before it is known how many scales the model has.

use std::{fs, path::Path};

use super::arguments::{Choices, Method as Typed};
use crate::{
    Error, Result,
    features::Features,
    hub::description::Defaults,
    search::{Draw, Method, Plan, Potential, Schedule, Select},
};

/// Where the plan comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// A method; what is left open is the model's.
    Method(Named),
    /// A plan that is there already, and the name that it goes by.
    Plan(Plan, Named),
}

/// A method by name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Named {
    pub method: Option<Method>,
    pub n: Option<usize>,
    pub schedule: Option<Schedule>,
}

/// A plan in the making.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    source: Source,
    features: Option<Features>,
    potential: Option<Potential>,
    lambda: Option<f64>,
    draw: Option<Draw>,
}

impl Named {
    pub(super) fn read(typed: &Typed) -> Result<Self> {
        let method = typed.method.as_deref().map(str::parse).transpose()?;
        let schedule = typed.schedule.as_deref().map(str::parse).transpose()?;
        Ok(Self { method, n: typed.n, schedule })
    }
}

impl Wish {
    /// What was typed.
    ///
    /// # Errors
    /// A name is not known, the plan file cannot be read, or no model could follow such a plan.
    pub(super) fn read(source: Source, choices: &Choices) -> Result<Self> {
        let wish = Self {
            source,
            features: choices.features.as_deref().map(str::parse).transpose()?,
            potential: choices.potential.as_deref().map(str::parse).transpose()?,
            lambda: choices.lambda,
            draw: choices.draw.as_deref().map(str::parse).transpose()?,
        };
        const RELEASED_SCALES: usize = 13; // any number does: what depends on it is checked with the model at hand
        wish.plan(RELEASED_SCALES, &Defaults::default())?;
        Ok(wish)
    }

    /// The plan for a model of `scales` scales, and the name that it goes by.
    ///
    /// # Errors
    /// The numbers do not go together.
    pub(super) fn plan(&self, scales: usize, defaults: &Defaults) -> Result<(Plan, Named)> {
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
}

/// The plan of a file.
///
/// # Errors
/// It cannot be read, or holds no plan.
pub(super) fn plan_file(path: &Path) -> Result<Plan> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    Plan::from_toml(&text).map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        let error = Error::file(path, error.to_string());
        if let Some(hint) = hint { error.with_hint(hint) } else { error }
    })
}

/// The choices that a plan makes, so that another plan can make the same.
pub(super) fn choices_of(plan: &Plan, open: &mut Choices) {
    for stage in plan.stages() {
        match stage.select {
            Select::Cluster { features } => {
                open.features.get_or_insert(features.to_string());
            }
            Select::Resample { potential, lambda, draw } => {
                open.potential.get_or_insert(potential.to_string());
                open.lambda.get_or_insert(lambda);
                open.draw.get_or_insert(draw.to_string());
            }
            Select::Top { .. } | Select::Drop => {}
        }
    }
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
