//! The layers of the models. Each uses a kernel of [`cpu`](super::cpu) or `cuda` where one fits the
//! tensors, and the tensor library everywhere else.

mod activation;
mod attention;
mod conv;
mod cosine_attention;
mod cross_attention;
mod group_norm;
mod groups;
mod linear;
mod mlp;
mod norm;
mod patch_embed;
mod residual;
mod rope;
mod upsample_conv;
mod vit;

pub use activation::Activation;
pub use attention::{attention, attention_blocks};
pub use conv::Conv2d;
pub use cosine_attention::CosineAttention;
pub use cross_attention::CrossAttention;
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::{LayerNorm, RmsNorm, modulate};
pub use patch_embed::PatchEmbed;
pub use residual::residual;
pub use rope::{Rope, split_and_rotate};
pub use upsample_conv::UpsampleConv;
pub use vit::{SelfAttention, VitBlock};
pub(crate) use vit::{heads_for, side_of_grid};
