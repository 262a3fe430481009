//! The networks: tensors in, tensors out. They know no files, prompts or scores.

pub mod autoencoder;
pub mod blip;
pub mod branches;
pub mod bsq_vae;
pub mod clip;
pub mod clip_t5;
pub mod dinov2;
pub mod flexar;
pub mod flextok;
mod grids;
pub mod hart;
pub mod infinity;
pub mod kl_vae;
pub mod mask2former;
pub mod qwen2;
pub mod rotation;
pub mod siglip;
mod switches;
pub mod switti;
pub mod t5;
pub mod var;
pub mod vq_vae;
