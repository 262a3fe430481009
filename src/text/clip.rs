//! CLIP's byte-level BPE, from the `tokenizer.json` of a folder of Hugging Face.
//!
//! OpenAI's own tokenizer repairs text and unescapes HTML first, this one does not: prompts with `&amp;` differ.

use tokenizers::Tokenizer;

use crate::{Error, Result, hub::Blob};

/// Splits prompts for CLIP.
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
}

impl ClipTokenizer {
    /// Most tokens of a prompt, the first and the last, which say nothing, included.
    pub const MAX_TOKENS: usize = 77;

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file is missing or is not a tokenizer that begins and ends every prompt with a token of its own.
    pub fn open(json: &Blob) -> Result<Self> {
        let tokenizer = Self { tokenizer: super::from_json(json, Self::MAX_TOKENS)? };
        match tokenizer.encode("")?.len() {
            2 => Ok(tokenizer),
            n => Err(Error::file(
                json.path(),
                format!("expected a CLIP tokenizer, which makes an empty prompt two tokens (start and end), not {n}"),
            )),
        }
    }

    /// Ids of a prompt, without padding, at most [`Self::MAX_TOKENS`]; the last is the end, also of a prompt that was cut.
    ///
    /// # Errors
    /// The prompt cannot be split.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>> {
        super::encode(&self.tokenizer, prompt)
    }

    /// How many different ids there are.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}
