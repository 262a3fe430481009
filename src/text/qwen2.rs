//! The byte-level tokenizer of Qwen2, from the `tokenizer.json` of its folder, with the padding that
//! HART uses.

use std::sync::Arc;

use serde::Deserialize;
use tokenizers::Tokenizer;
use ttsvar_search::PromptReader;

use super::limit::{Limited, NamedLimit, dropped};
use crate::{Error, Result, hub::Blob};

/// The token of padding, unless the folder names another.
const PADDING: &str = "<|endoftext|>";

/// The side on which prompts are padded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaddingSide {
    /// Before the prompt.
    Left,
    /// After the prompt.
    #[default]
    Right,
}

/// The parts of a `tokenizer_config.json` that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Qwen2TokenizerConfig {
    /// The side on which prompts are padded.
    #[serde(default)]
    pub padding_side: PaddingSide,
}

/// A prompt of fixed length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaddedPrompt {
    /// One id per token.
    pub ids: Vec<u32>,
    /// False for padding.
    pub mask: Vec<bool>,
    /// The position of each token: the number of tokens up to it, without padding, minus 1.
    pub positions: Vec<i64>,
}

/// Splits prompts for a Qwen2 encoder.
pub struct Qwen2Tokenizer {
    tokenizer: Tokenizer,
    padding: u32,
    side: PaddingSide,
    tokens: usize,
}

impl Qwen2Tokenizer {
    /// Reads a `tokenizer.json` and the padding side of a `tokenizer_config.json`. Prompts get
    /// `tokens` tokens.
    ///
    /// # Errors
    /// A file is damaged, or the tokenizer has no token for padding.
    pub fn open(json: &Blob, config: Option<&Blob>, tokens: usize) -> Result<Self> {
        let config: Qwen2TokenizerConfig = match config {
            Some(blob) => blob.json()?,
            None => Qwen2TokenizerConfig::default(),
        };
        let tokenizer = super::from_json(json, tokens)?;
        let Some(padding) = tokenizer.token_to_id(PADDING) else {
            let message = format!("expected a tokenizer of Qwen2, which has a token `{PADDING}`");
            return Err(Error::file(json.path(), message));
        };
        Ok(Self {
            tokenizer,
            padding,
            side: config.padding_side,
            tokens,
        })
    }

    /// The same with padding on another side.
    pub fn with_padding_side(self, side: PaddingSide) -> Self {
        Self { side, ..self }
    }

    /// Ids of a text, cut at the limit and not padded.
    ///
    /// # Errors
    /// The text cannot be split.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        super::encode(&self.tokenizer, text)
    }

    /// Ids of a prompt, cut or padded.
    ///
    /// # Errors
    /// The prompt cannot be split.
    pub fn padded(&self, prompt: &str) -> Result<PaddedPrompt> {
        let own = self.encode(prompt)?;
        let padding = vec![self.padding; self.tokens.saturating_sub(own.len())];
        let ids = match self.side {
            PaddingSide::Left => [padding, own].concat(),
            PaddingSide::Right => [own, padding].concat(),
        };
        // The token of padding inside a prompt counts as padding too.
        let mask: Vec<bool> = ids.iter().map(|id| *id != self.padding).collect();
        let mut position = -1;
        let mut positions = vec![];
        for seen in &mask {
            position += i64::from(*seen);
            positions.push(position);
        }
        Ok(PaddedPrompt {
            ids,
            mask,
            positions,
        })
    }

    /// The reader of prompts for warnings.
    pub fn prompt_reader(self: &Arc<Self>) -> Arc<dyn PromptReader> {
        Arc::new(NamedLimit {
            name: "the text encoder Qwen2".to_owned(),
            limit: self.tokens,
            tokenizer: self.clone(),
        })
    }
}

impl Limited for Qwen2Tokenizer {
    fn dropped(&self, prompt: &str, _: usize) -> Result<Option<String>> {
        dropped(&self.tokenizer, prompt)
    }
}
