//! Prompts to the context that HART reads as scale 0.

use std::sync::Arc;

use ttsvar_search::PromptReader;

use crate::{
    Result,
    loading::{Evict, Evictable},
    models::{hart::Context, qwen2::Qwen2Encoder},
    nn::check_finite,
    pipelines::Prepared,
    text::Qwen2Tokenizer,
};

/// The text in front of every prompt, with which the published weights were trained
/// (`hart/utils/constants.py`; copyright 2024 MIT HAN Lab, MIT licence).
pub const INSTRUCTION: &str = include_str!("instruction.txt");

/// The text encoder of a pipeline.
pub trait ContextEncoder: Send + Sync {
    /// The context of a prompt.
    ///
    /// # Errors
    /// The prompt cannot be split, or the network fails.
    fn encode(&self, prompt: &str) -> Result<Context>;

    /// Encodes prompts that will be needed, if the network does not stay in memory.
    ///
    /// # Errors
    /// As [`ContextEncoder::encode`].
    fn prepare(&self, _prompts: &[String]) -> Result<()> {
        Ok(())
    }

    /// The reader of prompts for warnings, since long prompts are cut.
    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>>;

    /// Width of the features.
    fn width(&self) -> usize;

    /// Floating-point operations for a prompt.
    fn flops(&self) -> f64;
}

/// Qwen2 with its tokenizer.
pub struct Qwen2Text {
    /// Prompts to token ids.
    pub tokenizer: Arc<Qwen2Tokenizer>,
    /// Token ids to features.
    pub encoder: Qwen2Encoder,
}

impl Qwen2Text {
    /// The context of a prompt behind an instruction, whose own features are left out. Ids are
    /// joined, not texts.
    ///
    /// # Errors
    /// A text cannot be split, or the network fails.
    pub fn context(&self, instruction: &str, prompt: &str) -> Result<Context> {
        let before = self.tokenizer.encode(instruction)?;
        let prompt = self.tokenizer.padded(prompt)?;
        let skipped = before.len();
        let mask = [vec![true; skipped], prompt.mask].concat();
        let ids = [before, prompt.ids].concat();
        let all = self.encoder.encode(&ids, &mask, &mut |_, _| ())?;
        let features = all.narrow(0, skipped, all.dims()[0] - skipped)?;
        check_finite("the text features", &features)?;
        Ok(Context {
            features: features.contiguous()?,
            positions: prompt.positions,
        })
    }
}

/// The text encoder, which may be evicted between its uses.
pub(super) struct EvictableText {
    pub encoder: Evictable<Qwen2Text>,
    /// Contexts of prompts that will be needed.
    pub prepared: Prepared<Context>,
    /// Stays in memory, for warnings.
    pub tokenizer: Arc<Qwen2Tokenizer>,
    /// Tokens of the instruction and a prompt.
    pub tokens: usize,
}

impl ContextEncoder for EvictableText {
    fn encode(&self, prompt: &str) -> Result<Context> {
        self.prepared
            .get(prompt, || self.encoder.get()?.context(INSTRUCTION, prompt))
    }

    fn prepare(&self, prompts: &[String]) -> Result<()> {
        if self.encoder.is_resident() {
            return Ok(());
        }
        self.prepared.fill(prompts, |missing| {
            let network = self.encoder.get()?;
            let contexts = missing.iter();
            contexts
                .map(|prompt| network.context(INSTRUCTION, prompt))
                .collect()
        })
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.tokenizer.prompt_reader())
    }

    fn width(&self) -> usize {
        self.encoder.measured().encoder.sizes().width
    }

    fn flops(&self) -> f64 {
        self.encoder.measured().encoder.sizes().flops(self.tokens)
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

    fn width(&self) -> usize {
        self.0.features.dims().last().copied().unwrap_or(0)
    }

    fn flops(&self) -> f64 {
        0.0
    }
}
