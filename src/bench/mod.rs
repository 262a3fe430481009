//! Timing of searches by phase, on models of any size: weights are random, since their values do
//! not affect timing.

mod arch;
mod machine;
mod measure;
mod memory;
mod model;
mod ops;
mod preview;
mod random_weights;
mod stand_ins;

pub use arch::{ARCHITECTURES, Architecture};
pub use machine::Machine;
pub use measure::{BenchJob, Measurement, PhaseFlops, measure};
pub use memory::peak_bytes;
pub use model::Model;
pub use ops::{Timed, time_ops};
pub use preview::{Agreement, agreement};
pub use random_weights::RandomWeights;
pub use stand_ins::{Blocks, Redness};

pub use crate::nn::{check_kernels, gpu_peak_bytes};
