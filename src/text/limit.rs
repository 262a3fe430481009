//! The limit up to which a tokenizer reads prompts, apart from the network that it serves: warnings
//! about long prompts need no network in memory.

use std::sync::Arc;

use tokenizers::Tokenizer;
use ttsvar_search::PromptReader;

use super::cannot_split;
use crate::{Result, file::shielded};

/// A tokenizer that reads a limited number of tokens.
pub(super) trait Limited: Send + Sync {
    /// The end of a prompt that is not among its first `limit` tokens.
    fn dropped(&self, prompt: &str, limit: usize) -> Result<Option<String>>;
}

/// A tokenizer under the name of the network that it serves.
pub(super) struct NamedLimit<T> {
    pub name: String,
    pub limit: usize,
    pub tokenizer: Arc<T>,
}

impl<T: Limited> PromptReader for NamedLimit<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn limit(&self) -> usize {
        self.limit
    }

    fn dropped(&self, prompt: &str) -> ttsvar_search::Result<Option<String>> {
        Ok(self.tokenizer.dropped(prompt, self.limit)?)
    }
}

/// The end of a prompt that a tokenizer with truncation drops.
pub(super) fn dropped(tokenizer: &Tokenizer, prompt: &str) -> Result<Option<String>> {
    let encode = |exactly: bool| {
        let encoding = shielded(|| match exactly {
            true => tokenizer.encode(prompt, true),
            false => tokenizer.encode_fast(prompt, true), // without places in the text
        });
        encoding
            .unwrap_or_else(|panic| Err(panic.into()))
            .map_err(cannot_split)
    };
    if encode(false)?.get_overflowing().is_empty() {
        return Ok(None);
    }
    let encoding = encode(true)?;
    let parts = encoding.get_overflowing().iter();
    let starts = parts.flat_map(|part| {
        let tokens = part
            .get_offsets()
            .iter()
            .zip(part.get_special_tokens_mask());
        tokens
            .filter(|(_, special)| **special == 0)
            .map(|((start, _), _)| *start)
    });
    let end = starts.min().and_then(|start| prompt.get(start..));
    Ok(end.filter(|end| !end.trim().is_empty()).map(str::to_owned))
}
