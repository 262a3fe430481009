//! From options to the plan of a search.

use ttsvar_search::{Drafts, MAX_ROWS, Method, Plan, PlanOptions, Select};

use super::Options;
use crate::{Error, Result};

/// Candidates in a round within a budget, where a method compares several.
pub(super) const ROUND: usize = 4;

impl Options {
    /// The plan that these options describe for a model of `scales` scales, whose unfinished
    /// candidates are scored as `drafts` says unless the options choose another verifier.
    ///
    /// # Errors
    /// The numbers do not fit together.
    pub fn plan_for(&self, scales: usize, drafts: Drafts) -> Result<Plan> {
        let plan = match &self.plan {
            Some(plan) => plan.clone(),
            None => self.plan_of_method(scales, drafts)?,
        };
        let plan = plan.with(self.plan_options(), scales)?;
        Ok(match self.budget {
            Some(_) => plan.unlimited(),
            None => plan,
        })
    }

    /// The plan of the method, or of one round of it within a budget.
    fn plan_of_method(&self, scales: usize, drafts: Drafts) -> Result<Plan> {
        let drafts = Drafts {
            finish: self.finish,
            ..drafts.with_verifier(self.verifier)
        };
        let method = self.method.unwrap_or_default();
        let n = match (self.budget, method) {
            (None, _) => self.n.unwrap_or(method.usual_n()),
            // What a round consists of; the budget decides how many there are.
            (Some(_), Method::Draft | Method::Beam | Method::Lookahead) => ROUND,
            (Some(_), Method::Sequential | Method::Auto) => MAX_ROWS,
            (Some(_), Method::Raw | Method::Importance) => return Err(no_use_for_budget(method)),
            (Some(_), Method::BestOfN | Method::TtsVar) => 1,
        };
        Ok(match method {
            Method::TtsVar => Plan::tts_var(scales, n, self.schedule.unwrap_or_default())?,
            method => method.plan_for(scales, n, drafts)?,
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
        let verifies = plan.stages().iter().any(|stage| stage.has_verifier(scales));
        check(
            self.verifier.is_some(),
            verifies,
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
}

/// The error for a budget and a method that draws an image without regard to how many there are.
fn no_use_for_budget(method: Method) -> Error {
    Error::input(format!(
        "method {method} has no use for a budget: its image is drawn, not the best of many"
    ))
    .with_hint("--method best-of-n generates candidates for as long as the budget lasts")
}
