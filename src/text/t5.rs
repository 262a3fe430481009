//! T5's Unigram tokenizer, from the `tokenizer.json` of a flan-T5 folder.

use std::sync::Arc;

use tokenizers::Tokenizer;
use ttsvar_search::PromptReader;

use super::limit::{Limited, NamedLimit, dropped};
use crate::{Error, Result, hub::Blob};

/// Splits prompts for a T5 encoder.
pub struct T5Tokenizer {
    tokenizer: Tokenizer,
    limit: usize,
}

impl T5Tokenizer {
    /// Most tokens of a prompt, `</s>` included: what Infinity was trained with (`text_maxlen`).
    pub const MAX_TOKENS: usize = 512;

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file is missing or is not a tokenizer that ends every prompt with `</s>`.
    pub fn open(json: &Blob) -> Result<Self> {
        Self::open_limited(json, Self::MAX_TOKENS)
    }

    /// The same for a model that reads at most `limit` tokens, `</s>` included.
    ///
    /// # Errors
    /// As [`T5Tokenizer::open`].
    pub fn open_limited(json: &Blob, limit: usize) -> Result<Self> {
        Self {
            tokenizer: super::from_json(json, limit)?,
            limit,
        }
        .checked(json)
    }

    /// The same without a limit: prompts are never cut.
    ///
    /// # Errors
    /// As [`T5Tokenizer::open`].
    pub fn open_unlimited(json: &Blob) -> Result<Self> {
        let mut tokenizer = super::from_text(json, &json.text()?)?;
        tokenizer
            .with_truncation(None)
            .map_err(|error| super::not_a_tokenizer(json, error))?;
        Self {
            tokenizer,
            limit: usize::MAX,
        }
        .checked(json)
    }

    fn checked(self, json: &Blob) -> Result<Self> {
        let tokenizer = self;
        match tokenizer.encode("")?.len() {
            1 => Ok(tokenizer),
            n => Err(Error::file(
                json.path(),
                format!(
                    "expected a T5 tokenizer, which makes an empty prompt one token \
                     (`</s>`), not {n}"
                ),
            )),
        }
    }

    /// Ids of a prompt, without padding, at most as many as the limit; the last is `</s>`, also of
    /// a prompt that was cut.
    ///
    /// # Errors
    /// The tokenizer has no token for a part of the prompt, not even an unknown one.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>> {
        super::encode(&self.tokenizer, prompt)
    }

    /// The reader of prompts for warnings.
    pub fn prompt_reader(self: &Arc<Self>) -> Arc<dyn PromptReader> {
        Arc::new(NamedLimit {
            name: "the text encoder T5".to_owned(),
            limit: self.limit,
            tokenizer: self.clone(),
        })
    }

    /// The number of different ids.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

impl Limited for T5Tokenizer {
    fn dropped(&self, prompt: &str, _: usize) -> Result<Option<String>> {
        dropped(&self.tokenizer, prompt)
    }
}
