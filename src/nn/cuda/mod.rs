//! Access to an NVIDIA GPU, and this crate's own kernels for it, in bf16 and f32. The kernels
//! replace what the tensor library would do in many passes over memory, or with a full matrix of
//! scores. Everything else on a GPU is left to the tensor library.
//!
//! The `.cu` files are compiled at run time for the GPU that is found, once for each head width.
//! They use nothing of CUDA beyond what `device.cuh` names, so that tests can run them on a CPU
//! (`emulated`), with the very launches that `calls` prepares.

#[cfg(any(feature = "cuda", all(test, target_os = "linux", target_env = "gnu")))]
mod calls;
#[cfg(feature = "cuda")]
mod device;
#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod emulated;
mod gpu;
#[cfg(feature = "cuda")]
mod layers;
#[cfg(any(feature = "cuda", all(test, target_os = "linux", target_env = "gnu")))]
mod program;

pub use gpu::{gpu_peak_bytes, open_gpu};
#[cfg(feature = "cuda")]
pub(super) use layers::{attention, group_norm, normalise, residual, split_and_rotate};
#[cfg(any(feature = "cuda", all(test, target_os = "linux", target_env = "gnu")))]
use program::{Arg, Call, Program, Scalar};
