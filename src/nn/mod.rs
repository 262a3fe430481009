//! Layers and kernels that two or more models share.

mod attention;
mod cpu;
mod gemm;
mod linear;
mod norm;
mod weights;

pub use attention::{Kv, attention, attention_blocks};
pub use linear::Linear;
pub use norm::{LayerNorm, RmsNorm, modulate};
pub use weights::{TensorInfo, TensorSource, Weights};
