//! Checks of options that do not depend on the model.

use std::fmt::Display;

use ttsvar_search::{Drafts, LAMBDA, Method};

use super::{Options, PerScale, Steer, plan::ROUND};
use crate::{Error, Result};

/// The least temperature. Logits divided by much smaller ones would be infinite.
const LEAST_TAU: f32 = 1e-6;

/// The most steps of a decoder: far more than any image needs.
const MOST_STEPS: usize = 1000;

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
        self.check_sampling()?;
        self.check_decoder()?;
        self.check_stages()?;
        self.steer.as_ref().map_or(Ok(()), Steer::check)
    }

    /// Checks what tokens are drawn by.
    fn check_sampling(&self) -> Result<()> {
        numbers_in_range(
            "cfg",
            &self.cfg,
            f32::is_finite,
            "a finite number",
            "a typical value is 3; 1 turns guidance off",
        )?;
        in_range(
            "the guidance layer",
            self.cfg_layer != Some(0),
            "1 or more",
            "0",
            "1 is the last block",
        )?;
        numbers_in_range(
            "tau",
            &self.tau,
            |tau| tau.is_finite() && tau >= LEAST_TAU,
            &format!("{LEAST_TAU} or more"),
            "a typical value is 0.5; the least one chooses what is most likely",
        )?;
        numbers_in_range(
            "top-p",
            &self.top_p,
            |top_p| (0.0..=1.0).contains(&top_p),
            "from 0 to 1",
            "a typical value is 0.97; 0 turns it off",
        )
    }

    /// Checks the options of decoders that work in steps.
    fn check_decoder(&self) -> Result<()> {
        for (name, steps) in [
            ("decoder-steps", self.decoder_steps),
            ("preview-steps", self.preview_steps),
        ] {
            in_range(
                name,
                steps.is_none_or(|steps| (1..=MOST_STEPS).contains(&steps)),
                &format!("from 1 to {MOST_STEPS}"),
                steps.unwrap_or_default(),
                "a typical value is 25; fewer steps are faster",
            )?;
        }
        finite(
            "decoder-cfg",
            self.decoder_cfg,
            "a finite number",
            "a typical value is 7.5; 1 turns guidance off",
        )
    }

    /// Checks the options of a plan.
    fn check_stages(&self) -> Result<()> {
        in_range(
            "n",
            self.n != Some(0),
            "1 or more",
            "0",
            "leave it out for the model's default",
        )?;
        let lambda = self.lambda.unwrap_or(LAMBDA);
        in_range(
            "lambda",
            lambda.is_finite() && lambda >= 0.0,
            "a finite number, 0 or more",
            lambda,
            "the paper uses 10; 0 draws uniformly, larger values favour high scores",
        )?;
        finite(
            "above",
            self.above,
            "a finite score",
            "candidates with this score or more finish immediately; the others wait",
        )?;
        in_range(
            "finish",
            self.finish != Some(0),
            "1 or more",
            "0",
            "it is the least number of candidates that finish",
        )?;
        finite(
            "enough",
            self.enough,
            "a finite score",
            "the search stops as soon as a finished image reaches it",
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
                .with_hint("give one value, or at most one per scale; the last one applies to all later scales"));
            }
        }
        self.check_steered_scales(scales)
    }

    fn check_steered_scales(&self, scales: usize) -> Result<()> {
        let Some(steer) = self.steer.as_ref().and_then(Steer::options) else {
            return Ok(());
        };
        let mut steered = steer.scales.iter().flatten();
        match steered.find(|scale| **scale >= scales) {
            Some(scale) => Err(steer.located(
                Error::input(format!(
                    "steer names scale {scale}, but the model has {scales} scales"
                ))
                .with_hint(
                    "scales are numbered from 0; without `scales`, the 4 x 4 grid is steered",
                ),
            )),
            None => Ok(()),
        }
    }

    fn check_search(&self) -> Result<()> {
        let by_method = self.method.is_some() || self.n.is_some() || self.schedule.is_some();
        if self.plan.is_some() && by_method {
            return Err(
                Error::input("a plan already sets the method, its N and its schedule")
                    .with_hint("leave method, n and schedule out, or leave the plan out"),
            );
        }
        self.check_schedule(self.method)?;
        check_methods_of(
            self.method,
            "--enough",
            self.enough.is_some(),
            &[Method::Sequential, Method::Auto],
        )?;
        check_methods_of(
            self.method,
            "--above",
            self.above.is_some(),
            &[Method::Auto],
        )?;
        check_methods_of(
            self.method,
            "--finish",
            self.finish.is_some(),
            &[Method::Draft, Method::Auto],
        )?;
        if self.budget.is_some() && self.n.is_some() {
            return Err(
                Error::input("budget and n both decide how many candidates there are")
                    .with_hint("leave one of them out"),
            );
        }
        let is_draft = self.method == Some(Method::Draft);
        let candidates = match self.budget {
            Some(_) => is_draft.then_some(ROUND),
            None => self.n.or(is_draft.then(|| Method::Draft.usual_n())),
        };
        if let Some(candidates) = candidates {
            self.check_finish(candidates)?;
        }
        // The checks of a plan do not depend on the number of scales.
        const ANY_SCALES: usize = 13;
        self.plan_for(ANY_SCALES, Drafts::default())?;
        Ok(())
    }

    /// Checks that no more candidates are to finish than the `n` that there are at once.
    ///
    /// # Errors
    /// There are fewer.
    pub fn check_finish(&self, n: usize) -> Result<()> {
        let (whole, more) = match self.budget {
            Some(_) => ("a round within a budget", ""),
            None => ("the search", ", or a larger --n"),
        };
        match self.finish {
            Some(finish) if finish > n && self.plan.is_none() => Err(Error::input(format!(
                "finish is {finish}, but {whole} has only {n} candidates"
            ))
            .with_hint(format!("choose at most {n}{more}"))),
            _ => Ok(()),
        }
    }

    /// Checks that a schedule is only set for methods that have one; `method` is `None` where the
    /// model decides.
    pub(crate) fn check_schedule(&self, method: Option<Method>) -> Result<()> {
        let set = self.schedule.is_some();
        check_methods_of(method, "--schedule", set, &[Method::TtsVar])
    }
}

/// Checks one value, of which `ok` says whether it is in its range.
fn in_range(name: &str, ok: bool, range: &str, found: impl Display, hint: &str) -> Result<()> {
    match ok {
        true => Ok(()),
        false => {
            Err(Error::input(format!("{name} must be {range}, found {found}")).with_hint(hint))
        }
    }
}

/// Checks that a number, if it is given, is finite.
fn finite(name: &str, value: Option<f32>, range: &str, hint: &str) -> Result<()> {
    value.map_or(Ok(()), |value| {
        in_range(name, value.is_finite(), range, value, hint)
    })
}

/// Checks each of the numbers of an option.
fn numbers_in_range(
    name: &str,
    values: &Option<PerScale>,
    ok: fn(f32) -> bool,
    range: &str,
    hint: &str,
) -> Result<()> {
    let mut values = values.iter().flat_map(|values| values.named(name));
    values.try_for_each(|(name, value)| in_range(&name, ok(value), range, value, hint))
}

/// Checks that the method, if it is given, is one of those that have this option.
fn check_methods_of(
    method: Option<Method>,
    flag: &str,
    set: bool,
    methods: &[Method],
) -> Result<()> {
    match method {
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
