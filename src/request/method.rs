//! Makes the plan that options describe, with its name.

use std::fmt;

use serde::Serialize;
use ttsvar_search::{Drafts, Method, Plan, Schedule};

use crate::{Result, options::Options};

/// The name of a plan: the method that made it and its size; all unset for a plan file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MethodSpec {
    /// The method.
    pub method: Option<Method>,
    /// Its N.
    pub n: Option<usize>,
    /// The reading of the paper's widths by `tts-var`, if the caller chose it.
    pub schedule: Option<Schedule>,
}

impl MethodSpec {
    /// The plan that options describe for a model of `scales` scales, and its name. A plan among
    /// the options keeps the name given beside it. `drafts` is how the model's unfinished candidates
    /// are scored.
    ///
    /// # Errors
    /// The numbers do not fit together.
    pub fn plan(options: &Options, scales: usize, drafts: Drafts) -> Result<(Plan, Self)> {
        let name = match options.plan {
            Some(_) => Self::beside_plan(options),
            None => Self::from_method(options)?,
        };
        Ok((options.plan_for(scales, drafts)?, name))
    }

    fn beside_plan(options: &Options) -> Self {
        Self {
            method: options.method,
            n: options.n,
            schedule: options.schedule,
        }
    }

    fn from_method(options: &Options) -> Result<Self> {
        let method = options.method.unwrap_or_default();
        // A budget decides how many candidates there are.
        let n = match options.budget {
            Some(_) => None,
            None => Some(options.n.unwrap_or(method.usual_n())),
        };
        options.check_schedule(Some(method))?;
        Ok(Self {
            method: Some(method),
            n,
            schedule: options.schedule,
        })
    }
}

/// The name for display: `tts-var, N = 1`.
impl fmt::Display for MethodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(method) = self.method else {
            return f.write_str("custom plan");
        };
        write!(f, "{method}")?;
        if let Some(n) = self.n {
            write!(f, ", N = {n}")?;
        }
        match self.schedule {
            Some(schedule) if schedule != Schedule::default() => write!(f, ", schedule {schedule}"),
            _ => Ok(()),
        }
    }
}
