//! Layers and kernels that two or more models share.

mod activation;
mod attention;
mod cpu;
mod cubic;
mod gemm;
mod linear;
mod mlp;
mod norm;
mod patch_embed;
mod vit;
mod weights;

pub use activation::Activation;
pub use attention::{Kv, attention, attention_blocks};
pub use cubic::{antialiased_cubic_matrix, cubic_matrix, resample};
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::{LayerNorm, RmsNorm, modulate};
pub use patch_embed::PatchEmbed;
pub(crate) use vit::heads_for;
pub use vit::{SelfAttention, VitBlock};
pub use weights::{TensorInfo, TensorSource, Weights};
