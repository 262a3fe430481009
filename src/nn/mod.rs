//! Layers and kernels that two or more models share.
//!
//! `layers` holds what models are built from, `cpu` and `cuda` the kernels that the layers run on.

mod cpu;
mod cubic;
mod cuda;
mod dtype;
mod finite;
mod kv;
mod layers;
#[cfg(test)]
mod noise;
mod resample;
mod tensor_source;
mod weights;

pub(crate) use cpu::memory::{advise_large_pages, return_free_memory};
pub use cpu::{
    feature_map::FeatureMap,
    quantized::Q8Block,
    simd::{check_kernels, kernels, kernels_forced},
};
pub use cubic::{antialiased_cubic_matrix, cubic_matrix, resample};
pub use cuda::{gpu_peak_bytes, open_gpu};
pub use dtype::Dtype;
pub(crate) use finite::check_for_8_bits;
pub use finite::{check_finite, first_not_finite};
pub use kv::Kv;
pub use layers::{
    Activation, Conv2d, CosineAttention, CrossAttention, GroupNorm, LayerNorm, Linear, Mlp,
    PatchEmbed, RmsNorm, Rope, SelfAttention, UpsampleConv, VitBlock, attention, attention_blocks,
    modulate, residual, split_and_rotate,
};
pub(crate) use layers::{heads_for, side_of_grid};
pub use resample::{area, bicubic, bilinear};
pub use tensor_source::{
    OpenMatrix, ReadPart, Signature, StateDictChoice, StoredType, TensorInfo, TensorSource,
};
pub use weights::Weights;
