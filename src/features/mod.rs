//! Feature vectors of images, by which images are compared.

pub mod clip;
pub mod dinov2;
pub mod patches;
pub mod pca;
pub mod pool;

pub use clip::ClipSpace;
pub use dinov2::Dinov2Features;
pub use patches::{PatchReduction, Patches, reduce};
