//! Opens the model that was asked for on the device that was asked for, within the memory that may be used.

use std::path::Path;

use super::{
    arguments::{Global, Limit},
    talk::Talk,
};
pub(super) use crate::request::system::{device, dtype};
use crate::{
    Result,
    bundle::{Settings, System},
    request::{self, Wish},
};

/// # Errors
/// The model or the device is not known or not there, or a file of the model is missing or damaged.
pub(super) fn open(model: &str, weights: Option<&Path>, global: &Global) -> Result<System> {
    request::open(model, weights, &global.dtype, &global.device)
}

/// [`open`] for a search that is then brought within the limit by [`fitted`].
pub(super) fn open_within(limit: Limit, model: &str, weights: Option<&Path>, global: &Global) -> Result<System> {
    let open = if limit.memory.is_some() { request::open_sparingly } else { request::open };
    open(model, weights, &global.dtype, &global.device)
}

/// Settings with which the wished search keeps to the limit; says what that costs.
pub(super) fn fitted(system: &System, settings: Settings, wish: &Wish, limit: Limit, talk: &Talk) -> Result<Settings> {
    let Some(limit) = limit.memory else { return Ok(settings) };
    let fit = request::fit(system, &settings, wish, limit)?;
    let given_up = fit.to_string();
    if !given_up.is_empty() {
        talk.note(&format!("to keep to the memory: {given_up}"));
    }
    Ok(fit.settings)
}
