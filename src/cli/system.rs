//! Opens the model that was asked for on the device that was asked for.

use std::path::Path;

use super::arguments::Global;
pub(super) use crate::request::system::{device, dtype};
use crate::{Result, bundle::System, request};

/// # Errors
/// The model or the device is not known or not there, or a file of the model is missing or damaged.
pub(super) fn open(model: &str, weights: Option<&Path>, global: &Global) -> Result<System> {
    request::open(model, weights, &global.dtype, &global.device)
}
