//! Timing of searches by phase, on models of any size: weights are random, since their values do
//! not affect timing.

mod machine;
mod measure;
mod preview;
mod stand_ins;

pub use machine::{Machine, memory};
pub use measure::{BenchJob, Measurement, PhaseFlops, measure};
pub use preview::{Agreement, agreement};
pub use stand_ins::{Blocks, Redness};

pub use crate::nn::{check_kernels, gpu_peak_bytes};
