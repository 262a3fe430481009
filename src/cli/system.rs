//! Opens the model that was asked for on the device that was asked for.

use std::path::Path;

use super::arguments::Global;
use crate::{
    Error, Result,
    bundle::{self, DType, Device, System},
};

/// # Errors
/// The model or the device is not known or not there, or a file of the model is missing or damaged.
pub(super) fn open(model: &str, weights: Option<&Path>, global: &Global) -> Result<System> {
    let (dtype, device) = (dtype(&global.dtype)?, device(&global.device)?);
    let bundle = bundle::find(model, weights)?;
    let missing = bundle.missing();
    if !missing.is_empty() {
        let count = missing.len();
        let files = if count == 1 { "1 file is".to_owned() } else { format!("{count} files are") };
        return Err(Error::file(bundle.folder().path(), format!("{files} missing: {}", missing.join(", ")))
            .with_hint("`ttsvar models --weights DIR` shows what each model needs and what is in DIR"));
    }
    System::open_as(model, weights, dtype, &device)
}

/// # Errors
/// The name is not known, or this program or this machine has no such device.
pub(super) fn device(name: &str) -> Result<Device> {
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

/// # Errors
/// The name is not known.
pub(super) fn dtype(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        _ => Err(Error::input(format!("unknown type of numbers `{name}`")).with_hint("expected `f32` or `bf16`")),
    }
}
