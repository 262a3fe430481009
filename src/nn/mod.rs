//! Layers and kernels that two or more models share.

mod weights;

pub use weights::{TensorInfo, TensorSource, Weights};
