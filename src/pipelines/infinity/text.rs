//! Prompts to features: tokenizer and T5 encoder together.

use candle_core::Tensor;

use crate::{Result, models::t5::T5Encoder, text::T5Tokenizer};

/// The text encoder of a pipeline.
pub struct TextEncoder {
    tokenizer: T5Tokenizer,
    encoder: T5Encoder,
}

impl TextEncoder {
    /// Both parts, which must belong together.
    pub fn new(tokenizer: T5Tokenizer, encoder: T5Encoder) -> Self {
        Self { tokenizer, encoder }
    }

    /// Features of a prompt, without padding: (tokens, width)
    pub fn encode(&self, prompt: &str) -> Result<Tensor> {
        self.encoder.encode(&self.tokenizer.encode(prompt)?)
    }

    /// Width of the features.
    pub fn width(&self) -> usize {
        self.encoder.width()
    }

    /// Floating-point operations for a prompt of so many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        self.encoder.flops(tokens)
    }
}
