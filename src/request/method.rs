//! Makes the plan that options describe, with its name.

use std::fmt;

use serde::Serialize;
use ttsvar_search::{Drafts, Method, Plan, Schedule};

use crate::{Error, Result, options::Options};

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
        if let Some(n) = name.n {
            options.check_finish(n)?;
        }
        Ok((options.plan_for(scales, drafts)?, name))
    }

    /// Checks that a plan of this name may finish as many images as the caller wants to keep.
    ///
    /// # Errors
    /// It finishes fewer.
    pub fn check_best(&self, plan: &Plan, best: usize) -> Result<()> {
        let most = plan.most_finished();
        if best == 0 {
            return Err(Error::input("best must be at least 1, found 0")
                .with_hint("it is the number of images to keep of one search"));
        }
        if best <= most {
            return Ok(());
        }
        let images = match most {
            1 => "1 image".to_owned(),
            _ => format!("{most} images"),
        };
        Err(Error::input(format!(
            "cannot keep the best {best} images: this search ({self}) finishes at most {images}"
        ))
        .with_hint("choose a larger n, or a method that finishes more, such as best-of-n"))
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
