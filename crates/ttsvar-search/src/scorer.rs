//! The interface of scorers, which rate how well an image fits its prompt.

use std::sync::Arc;

use crate::{AnsweredScores, Image, PromptReader, Result};

/// Rates images for a prompt. Higher is better; the unit is up to the scorer.
pub trait Scorer: Send + Sync {
    /// One score for each image, in their order.
    fn score(&self, prompt: &str, images: &[Image]) -> Result<Vec<f32>>;

    /// The same with the answers that the scores are computed from, for scorers that are asked a list
    /// of questions.
    fn score_with_answers(&self, prompt: &str, images: &[Image]) -> Result<AnsweredScores> {
        Ok(self.score(prompt, images)?.into())
    }

    /// The part of it that reads prompts, if it does not read long ones to their end.
    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        None
    }

    /// Floating-point operations to score `images` images; 0 where unknown.
    fn flops(&self, images: usize) -> f64 {
        let _ = images;
        0.0
    }
}

/// Functions of prompt and images are scorers too.
impl<F: Fn(&str, &[Image]) -> Result<Vec<f32>> + Send + Sync> Scorer for F {
    fn score(&self, prompt: &str, images: &[Image]) -> Result<Vec<f32>> {
        self(prompt, images)
    }
}
