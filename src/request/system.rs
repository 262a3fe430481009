//! Which model, where it computes and in what numbers.

use std::path::Path;

use super::Wish;
use crate::{
    Error, Result,
    bundle::{self, DType, Device, Fit, Settings, System},
};

/// Loads a model, after a look whether all of its files are there; see [`System::open`] for the names.
///
/// # Errors
/// The model, the type or the device is not known or not there, or a file of the model is missing or damaged.
pub fn open(model: &str, weights: Option<&Path>, dtype_name: &str, device_name: &str) -> Result<System> {
    look(model, weights)?;
    System::open_as(model, weights, dtype(dtype_name)?, &device(device_name)?)
}

/// [`open`] for a search that is then brought within a limit by [`fit`]; see [`System::open_sparingly`].
///
/// # Errors
/// Those of [`open`].
pub fn open_sparingly(model: &str, weights: Option<&Path>, dtype_name: &str, device_name: &str) -> Result<System> {
    look(model, weights)?;
    System::open_sparingly(model, weights, dtype(dtype_name)?, &device(device_name)?)
}

/// Whether all files of a model are there.
fn look(model: &str, weights: Option<&Path>) -> Result<()> {
    let bundle = bundle::find(model, weights)?;
    let missing = bundle.missing();
    if missing.is_empty() {
        return Ok(());
    }
    let count = missing.len();
    let files = if count == 1 { "1 file is".to_owned() } else { format!("{count} files are") };
    Err(Error::file(bundle.folder().path(), format!("{files} missing: {}", missing.join(", ")))
        .with_hint("`ttsvar models --weights DIR` shows what each model needs and what is in DIR"))
}

/// How the wished search keeps to `limit` bytes; see [`System::fit`].
///
/// # Errors
/// It cannot, or the numbers do not go together.
pub fn fit(system: &System, settings: &Settings, wish: &Wish, limit: u64) -> Result<Fit> {
    let scales = system.pipeline(settings)?.scales().len();
    let (plan, _) = wish.plan(scales, system.defaults())?;
    system.fit(settings, [&plan.widths(scales), &plan.decodes(scales)], limit)
}

/// The device of a name, `cpu` or `cuda`.
///
/// # Errors
/// The name is not known, or this program or this machine has no such device.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" if !cfg!(feature = "cuda") => Err(Error::input("this program was built without CUDA")
            .with_hint("build it with `cargo build --release --features cuda`")),
        "cuda" => Device::new_cuda(0).map_err(|error| {
            Error::input(format!("no CUDA device can be used: {error}")).with_hint("leave --device out to use the CPU")
        }),
        _ => Err(Error::input(format!("unknown device `{name}`")).with_hint("expected `cpu` or `cuda`")),
    }
}

/// The type of matrices of a name, `f32` or `bf16`.
///
/// # Errors
/// The name is not known.
pub fn dtype(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        _ => Err(Error::input(format!("unknown type of numbers `{name}`")).with_hint("expected `f32` or `bf16`")),
    }
}
