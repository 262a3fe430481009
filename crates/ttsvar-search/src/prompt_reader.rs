//! Readers of prompts that read only the beginning of long ones.

use crate::{Result, warning::Warning};

/// A text encoder or a scorer that reads a limited number of tokens.
pub trait PromptReader: Send + Sync {
    /// Its name in warnings: `the scorer hps`.
    fn name(&self) -> &str;

    /// The number of tokens that it reads.
    fn limit(&self) -> usize;

    /// The end of a prompt that it does not read; `None` if it reads all of it.
    ///
    /// # Errors
    /// The prompt cannot be split into tokens.
    fn dropped(&self, prompt: &str) -> Result<Option<String>>;

    /// A warning if it does not read all of a prompt.
    ///
    /// # Errors
    /// As [`PromptReader::dropped`].
    fn check(&self, prompt: &str, negative: bool) -> Result<Option<Warning>> {
        Ok(self.dropped(prompt)?.map(|dropped| Warning::CutPrompt {
            reader: self.name().to_owned(),
            limit: self.limit(),
            dropped,
            negative,
        }))
    }
}
