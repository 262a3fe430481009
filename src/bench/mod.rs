//! How long a search takes and where the time goes, on models of any size: with random weights made
//! up in memory, since no number among them changes the time.

mod arch;
mod machine;
mod made_up;
mod measure;
mod memory;
mod model;
mod ops;
mod preview;
mod stand_ins;

pub use arch::{ARCHITECTURES, Architecture};
pub use machine::Machine;
pub use made_up::MadeUp;
pub use measure::{Job, Measurement, Work, measure};
pub use memory::peak_bytes;
pub use model::Model;
pub use ops::{Timed, time_ops};
pub use preview::{Agreement, agreement};
pub use stand_ins::{Blocks, Redness};

pub use crate::nn::{check_kernels, gpu_peak_bytes};
