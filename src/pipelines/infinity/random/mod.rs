//! Released sizes of Infinity with random weights, for `ttsvar bench`: the values of weights do not
//! affect timing.

mod architecture;
mod model;
mod ops;

pub use architecture::{ARCHITECTURES, Architecture};
pub use model::RandomInfinity;
pub use ops::{Timed, time_ops};
