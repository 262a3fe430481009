//! Encodes prompts as text features.

use std::sync::Arc;

use candle_core::Tensor;
use ttsvar_search::PromptReader;

use crate::{Result, models::t5::T5Encoder, nn::check_finite, text::T5Tokenizer};

/// The text encoder of a pipeline.
pub trait TextEncoder: Send + Sync {
    /// Features of a prompt, without padding: (tokens, width)
    fn encode(&self, prompt: &str) -> Result<Tensor>;

    /// Features of several texts that one search needs.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    fn encode_all(&self, prompts: &[String]) -> Result<Vec<Tensor>> {
        prompts.iter().map(|prompt| self.encode(prompt)).collect()
    }

    /// Encodes texts that will be needed, if the network does not stay in memory.
    ///
    /// # Errors
    /// As [`TextEncoder::encode`].
    fn prepare(&self, _prompts: &[String]) -> Result<()> {
        Ok(())
    }

    /// The reader of prompts for warnings, if long prompts are cut.
    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        None
    }

    /// Width of the features.
    fn width(&self) -> usize;

    /// Floating-point operations for a prompt of `tokens` tokens.
    fn flops(&self, tokens: usize) -> f64;
}

/// The encoder that the released models were trained with.
pub struct T5Text {
    /// Prompts to token ids.
    pub tokenizer: Arc<T5Tokenizer>,
    /// Token ids to features.
    pub encoder: T5Encoder,
}

impl TextEncoder for T5Text {
    fn encode(&self, prompt: &str) -> Result<Tensor> {
        let features = self.encoder.encode(&self.tokenizer.encode(prompt)?)?;
        check_finite("the text features", &features)?;
        Ok(features)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.tokenizer.prompt_reader())
    }

    fn width(&self) -> usize {
        self.encoder.sizes().width
    }

    fn flops(&self, tokens: usize) -> f64 {
        self.encoder.sizes().flops(tokens)
    }
}

/// The same features (tokens, width) for every prompt, to run the rest of a pipeline alone.
pub struct FixedText(pub Tensor);

impl TextEncoder for FixedText {
    fn encode(&self, _: &str) -> Result<Tensor> {
        Ok(self.0.clone())
    }

    fn width(&self) -> usize {
        self.0.dims().last().copied().unwrap_or(0)
    }

    fn flops(&self, _: usize) -> f64 {
        0.0
    }
}
