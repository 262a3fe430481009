//! How well an image fits its prompt, as a number.

use crate::{Image, Result};

/// A judge of images. Higher is better; what the numbers mean is the scorer's own.
pub trait Scorer: Send + Sync {
    /// One score for each image, in their order.
    fn score(&self, prompt: &str, images: &[Image]) -> Result<Vec<f32>>;

    /// Floating-point operations that scoring `images` images takes; 0 where nobody counted.
    fn flops(&self, images: usize) -> f64;
}
