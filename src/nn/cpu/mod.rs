//! Kernels for tensors in main memory, and their building blocks: vectors of the machine (`simd`),
//! packed weights (`panels`, in 8 bits `quantized`), the types that numbers are stored in (`stored`).

pub(crate) mod direct_conv;
pub(crate) mod elementary;
pub(crate) mod feature_map;
pub(crate) mod memory;
pub(crate) mod panels;
pub(crate) mod quantized;
pub(crate) mod segments;
pub(crate) mod simd;
mod softmax;
pub(crate) mod stored;
mod values;
pub(crate) mod winograd;

pub(crate) use values::{Values, is_cpu_f32, map_chunks, map_rows, to_vec};
