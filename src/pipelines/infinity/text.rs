//! Prompts to features: tokenizer and T5 encoder together.

use candle_core::Tensor;

use crate::{Result, models::t5::T5Encoder, text::T5Tokenizer};

/// The text encoder of a pipeline.
pub enum TextEncoder {
    /// The encoder that the released models were trained with.
    T5 {
        /// Prompts to token ids.
        tokenizer: Box<T5Tokenizer>,
        /// Token ids to features.
        encoder: Box<T5Encoder>,
    },
    /// The same features (tokens, width) for every prompt, where only the rest of the pipeline matters.
    Fixed(Tensor),
}

impl TextEncoder {
    /// Features of a prompt, without padding: (tokens, width)
    pub fn encode(&self, prompt: &str) -> Result<Tensor> {
        match self {
            Self::T5 { tokenizer, encoder } => encoder.encode(&tokenizer.encode(prompt)?),
            Self::Fixed(features) => Ok(features.clone()),
        }
    }

    /// Width of the features.
    pub fn width(&self) -> usize {
        match self {
            Self::T5 { encoder, .. } => encoder.width(),
            Self::Fixed(features) => features.dims().last().copied().unwrap_or(0),
        }
    }

    /// Floating-point operations for a prompt of so many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        match self {
            Self::T5 { encoder, .. } => encoder.flops(tokens),
            Self::Fixed(_) => 0.0,
        }
    }
}
