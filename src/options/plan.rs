//! From options to the plan of a search.

use ttsvar_search::{Drafts, MAX_ROWS, Method, Plan, PlanOptions, Select};

use super::Options;
use crate::Result;

impl Options {
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
            (None, _) => self.n.unwrap_or(method.usual_n()),
            // What a round consists of; the budget decides how many there are.
            (Some(_), Method::Draft | Method::Beam | Method::Lookahead) => 4,
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
}
