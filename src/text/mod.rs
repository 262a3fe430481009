//! Prompts to token ids, exactly as the original models' tokenizers make them.

mod clip;
mod openai;
mod t5;
mod wordpiece;
mod words;

pub use clip::ClipTokenizer;
pub use t5::T5Tokenizer;
pub use wordpiece::{Padded, WordPieceTokenizer};
pub use words::unknown_words;

use tokenizers::{Tokenizer, TruncationParams};

use crate::{Error, Result, hub::Blob};

/// Reads a `tokenizer.json` without padding, cut at `limit` tokens so that what the template adds
/// at the end stays.
fn from_json(blob: &Blob, limit: usize) -> Result<Tokenizer> {
    let wrong = |error| Error::file(blob.path(), format!("not a tokenizer: {error}"));
    let mut tokenizer = Tokenizer::from_bytes(blob.text()?).map_err(wrong)?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(Some(TruncationParams {
            max_length: limit,
            ..Default::default()
        }))
        .map_err(wrong)?;
    Ok(tokenizer)
}

fn encode(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(prompt, true).map_err(|error| {
        Error::input(format!("the prompt cannot be split into tokens: {error}"))
    })?;
    Ok(encoding.get_ids().to_vec())
}
