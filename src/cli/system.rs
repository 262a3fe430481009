//! Opens the model and the scorers that were asked for, on the device that was asked for, within
//! the memory that may be used.

use std::path::Path;

use super::{
    arguments::{Global, Limit, Model},
    console::Console,
};
pub(super) use crate::request::system::{device, dtype, search};
use crate::{
    Result,
    bundle::{LoadedScorer, ScorerMix, Settings, System},
    request::{self, Wish, system},
};

/// # Errors
/// The model, its scorers or the device are not known or not there, or a file is missing or
/// damaged.
pub(super) fn open(
    model: &str,
    weights: Option<&Path>,
    judging: Option<&ScorerMix>,
    global: &Global,
) -> Result<System> {
    open_within(Limit::default(), model, weights, judging, global)
}

/// [`open`] for a search that is then brought within the limit by [`fitted`].
pub(super) fn open_within(
    limit: Limit,
    model: &str,
    weights: Option<&Path>,
    judging: Option<&ScorerMix>,
    global: &Global,
) -> Result<System> {
    system::open_judged(
        model,
        weights,
        judging,
        limit.memory.is_none(),
        global.dtype(),
        &global.device,
    )
}

/// The scorers alone, and whether they are the demo's.
///
/// # Errors
/// As [`open`].
pub(super) fn scorers(typed: &Model, global: &Global) -> Result<(Vec<LoadedScorer>, bool)> {
    let (model, weights) = (typed.model.as_deref(), typed.weights.as_deref());
    system::scorers(
        model,
        weights,
        judging(typed)?.as_ref(),
        global.dtype(),
        &global.device,
    )
}

/// The scorers that were typed.
///
/// # Errors
/// A name is not known, or a weight is none.
pub(super) fn judging(typed: &Model) -> Result<Option<ScorerMix>> {
    typed.scorer.as_deref().map(str::parse).transpose()
}

/// Settings with which the wished search keeps to the limit; says what that costs.
pub(super) fn fitted(
    system: &System,
    settings: Settings,
    wish: &Wish,
    limit: Limit,
    talk: &Console,
) -> Result<Settings> {
    let Some(limit) = limit.memory else {
        return Ok(settings);
    };
    let fit = request::fit(system, &settings, wish, limit)?;
    let given_up = fit.to_string();
    if !given_up.is_empty() {
        talk.note(&format!("to keep to the memory: {given_up}"));
    }
    Ok(fit.settings)
}
