//! Prompts to the context that Switti's cross-attention sees.

use std::sync::Arc;

use candle_core::Tensor;
use ttsvar_search::PromptReader;

use crate::{
    Error, Result,
    loading::{Evict, Evictable},
    models::{
        clip::{TextModel, TextSizes},
        switti::Context,
    },
    nn::check_finite,
    pipelines::Prepared,
    text::ClipTokenizer,
};

/// The text encoder of a pipeline.
pub trait ContextEncoder: Send + Sync {
    /// The context of a prompt, without padding.
    ///
    /// # Errors
    /// The prompt cannot be split, or a network fails.
    fn encode(&self, prompt: &str) -> Result<Context>;

    /// Encodes prompts that will be needed, if a network does not stay in memory.
    ///
    /// # Errors
    /// As [`ContextEncoder::encode`].
    fn prepare(&self, _prompts: &[String]) -> Result<()> {
        Ok(())
    }

    /// The reader of prompts for warnings, since long prompts are cut.
    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>>;

    /// Width of the features, and of the pooled vector.
    fn widths(&self) -> [usize; 2];

    /// Floating-point operations for a prompt of `tokens` tokens.
    fn flops(&self, tokens: usize) -> f64;
}

/// The context of a prompt that was split into `ids`, from the final states of both encoders,
/// (1, T, width): the states side by side, and the second one's state of the end token, without
/// projection.
///
/// # Errors
/// The states have different numbers of tokens.
pub fn context(first: &Tensor, second: &Tensor, ids: &[u32]) -> Result<Context> {
    let features = Tensor::cat(&[first, second], 2)?;
    Ok(Context {
        features: features.squeeze(0)?,
        pooled: TextModel::end_state(second, ids)?.squeeze(0)?,
    })
}

/// The final states of an encoder: (1, T, width)
fn states(encoder: &TextModel, ids: &[u32]) -> Result<Tensor> {
    let states = encoder.forward(ids)?;
    check_finite("the text features", &states)?;
    Ok(states)
}

/// Two text encoders, each of which may be evicted between its uses.
pub(super) struct EvictableText {
    pub first: Evictable<TextModel>,
    pub second: Evictable<TextModel>,
    /// Contexts of prompts that will be needed.
    pub prepared: Prepared<Context>,
    /// Stays in memory, for warnings. Both encoders have the same words.
    pub tokenizer: Arc<ClipTokenizer>,
}

impl EvictableText {
    fn sizes(&self) -> [&TextSizes; 2] {
        [&self.first, &self.second].map(|encoder| encoder.measured().sizes())
    }

    /// The contexts of prompts, with each network in memory once: if they are evicted, only one is
    /// in memory at a time.
    fn encode_now(&self, prompts: &[String]) -> Result<Vec<Context>> {
        let ids = prompts.iter().map(|prompt| self.tokenizer.encode(prompt));
        let ids = ids.collect::<Result<Vec<_>>>()?;
        let first = all_states(&self.first, &ids)?;
        let second = all_states(&self.second, &ids)?;
        let parts = first.iter().zip(&second).zip(&ids);
        let contexts = parts.map(|((first, second), ids)| context(first, second, ids));
        contexts.collect()
    }
}

/// The final states of an encoder for prompts that were split into `ids`.
fn all_states(encoder: &Evictable<TextModel>, ids: &[Vec<u32>]) -> Result<Vec<Tensor>> {
    let encoder = encoder.get()?;
    ids.iter().map(|ids| states(&encoder, ids)).collect()
}

impl ContextEncoder for EvictableText {
    fn encode(&self, prompt: &str) -> Result<Context> {
        self.prepared.get(prompt, || {
            let contexts = self.encode_now(&[prompt.to_owned()])?;
            let first = contexts.into_iter().next();
            first.ok_or_else(|| Error::internal("a prompt has no context"))
        })
    }

    fn prepare(&self, prompts: &[String]) -> Result<()> {
        if self.first.is_resident() && self.second.is_resident() {
            return Ok(());
        }
        self.prepared
            .fill(prompts, |missing| self.encode_now(missing))
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.tokenizer.prompt_reader("the text encoder CLIP"))
    }

    fn widths(&self) -> [usize; 2] {
        let [first, second] = self.sizes();
        [first.width + second.width, second.width]
    }

    fn flops(&self, tokens: usize) -> f64 {
        let sizes = self.sizes().into_iter();
        sizes.map(|sizes| sizes.flops(tokens)).sum()
    }
}

/// The same context for every prompt, to run the rest of a pipeline alone.
pub struct FixedContext(pub Context);

impl ContextEncoder for FixedContext {
    fn encode(&self, _: &str) -> Result<Context> {
        Ok(self.0.clone())
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        None
    }

    fn widths(&self) -> [usize; 2] {
        let width = |x: &Tensor| x.dims().last().copied().unwrap_or(0);
        [width(&self.0.features), width(&self.0.pooled)]
    }

    fn flops(&self, _: usize) -> f64 {
        0.0
    }
}
