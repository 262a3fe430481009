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
    let mut tokenizer = without_decoder(&blob.text()?).map_err(wrong)?;
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(Some(TruncationParams {
            max_length: limit,
            ..Default::default()
        }))
        .map_err(wrong)?;
    Ok(tokenizer)
}

/// The tokenizer of a `tokenizer.json` without its decoder, which nothing here uses: the library
/// panics on a damaged one.
fn without_decoder(text: &str) -> tokenizers::Result<Tokenizer> {
    let mut parts: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
    parts.remove("decoder");
    Tokenizer::from_bytes(serde_json::to_vec(&parts)?)
}

fn encode(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(prompt, true).map_err(|error| {
        Error::input(format!("the prompt cannot be split into tokens: {error}"))
    })?;
    Ok(encoding.get_ids().to_vec())
}

#[cfg(test)]
mod tests {
    use super::without_decoder;

    #[test]
    fn a_damaged_decoder_is_not_read() {
        let text = r#"{ "version": "1.0", "decoder": { "type": "Sequence", "decoders": [{ "type": "" }] },
            "model": { "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" } }"#;
        assert!(without_decoder(text).is_ok());
        assert!(without_decoder("[]").is_err());
    }
}
