//! Layers and kernels that two or more models share.

mod activation;
mod attention;
mod conv;
mod cpu;
mod cubic;
mod gemm;
mod linear;
mod mlp;
mod norm;
mod patch_embed;
mod resample;
mod rope;
mod vit;
mod weights;

pub use activation::Activation;
pub use attention::{Kv, attention, attention_blocks};
pub use conv::{Conv2d, NormSilu};
pub use cubic::{antialiased_cubic_matrix, cubic_matrix, resample};
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::{LayerNorm, RmsNorm, modulate};
pub use patch_embed::PatchEmbed;
pub use resample::{area, bilinear};
pub use rope::{Rope, split_and_rotate};
pub(crate) use vit::heads_for;
pub use vit::{SelfAttention, VitBlock};
pub use weights::{TensorInfo, TensorSource, Weights};
