//! How well an image fits its prompt, as a number.

pub mod aesthetic;
pub mod clip_score;
mod head;
pub mod hps;
pub mod image_reward;

pub use aesthetic::Aesthetic;
pub use clip_score::{ClipScore, Definition};
pub use hps::Hps;
pub use image_reward::ImageReward;

use crate::{Result, image::Image};

/// A judge of images. Higher is better; what the numbers mean is the scorer's own.
pub trait Scorer: Send + Sync {
    /// One score for each image, in their order.
    fn score(&self, prompt: &str, images: &[Image]) -> Result<Vec<f32>>;

    /// Floating-point operations that scoring `images` images takes; 0 where nobody counted.
    fn flops(&self, images: usize) -> f64;
}
