//! Layers and kernels that two or more models share.

mod activation;
mod attention;
mod conv;
mod cpu;
mod cross_attention;
mod cubic;
#[cfg(any(feature = "cuda", all(test, target_os = "linux", target_env = "gnu")))]
mod cuda;
mod direct_conv;
mod elementary;
mod feature_map;
mod gpu;
mod group_norm;
mod linear;
mod mlp;
#[cfg(test)]
mod noise;
mod norm;
mod panels;
mod patch_embed;
mod resample;
mod residual;
mod rope;
mod segments;
mod simd;
mod softmax;
mod stored;
mod upsample_conv;
mod vit;
mod weights;
mod winograd;

pub use activation::Activation;
pub use attention::{Kv, attention, attention_blocks};
pub use conv::Conv2d;
pub use cross_attention::CrossAttention;
pub use cubic::{antialiased_cubic_matrix, cubic_matrix, resample};
pub use feature_map::FeatureMap;
pub use gpu::{gpu_peak_bytes, open_gpu};
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::{LayerNorm, RmsNorm, modulate};
pub use patch_embed::PatchEmbed;
pub use resample::{area, bilinear};
pub use residual::residual;
pub use rope::{Rope, split_and_rotate};
pub use simd::{check_kernels, kernels, kernels_forced};
pub use upsample_conv::UpsampleConv;
pub use vit::{SelfAttention, VitBlock};
pub(crate) use vit::{heads_for, side_of_grid};
pub use weights::{TensorInfo, TensorSource, Weights};
