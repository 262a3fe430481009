//! Prompts to token ids, exactly as the original models' tokenizers make them, and to layouts.

pub mod atoms;
mod classes;
mod clip;
pub mod layout;
mod limit;
mod openai;
mod plural;
mod qwen2;
pub mod relation;
mod t5;
mod wordpiece;
mod words;

pub use classes::Classes;
pub use clip::ClipTokenizer;
pub use qwen2::{PaddedPrompt, PaddingSide, Qwen2Tokenizer};
pub use t5::T5Tokenizer;
pub use wordpiece::{Padded, WordPieceTokenizer};
pub use words::unknown_words;

use tokenizers::{Tokenizer, TruncationParams};

use crate::{Error, Result, file::shielded, hub::Blob};

/// Zero to ten in words.
pub const NUMBERS: [&str; 11] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];

/// Reads a `tokenizer.json` without padding, cut at `limit` tokens so that what the template adds
/// at the end stays.
fn from_json(blob: &Blob, limit: usize) -> Result<Tokenizer> {
    let mut tokenizer = from_text(blob, &blob.text()?)?;
    tokenizer
        .with_truncation(Some(TruncationParams {
            max_length: limit,
            ..Default::default()
        }))
        .map_err(|error| not_a_tokenizer(blob, error))?;
    Ok(tokenizer)
}

/// The tokenizer in the text of a `tokenizer.json`, without padding and without truncation.
fn from_text(origin: &Blob, text: &str) -> Result<Tokenizer> {
    let mut tokenizer = without_decoder(text).map_err(|error| not_a_tokenizer(origin, error))?;
    tokenizer.with_padding(None);
    // A damaged template shows itself only here.
    encode(&tokenizer, "a").map_err(|error| not_a_tokenizer(origin, error))?;
    Ok(tokenizer)
}

/// The tokenizer of a `tokenizer.json` without its decoder, which nothing here uses. The library
/// panics on some damaged files.
fn without_decoder(text: &str) -> tokenizers::Result<Tokenizer> {
    let mut parts: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
    parts.remove("decoder");
    let bytes = serde_json::to_vec(&parts)?;
    shielded(|| Tokenizer::from_bytes(bytes)).unwrap_or_else(|panic| Err(panic.into()))
}

fn not_a_tokenizer(origin: &Blob, error: impl std::fmt::Display) -> Error {
    let error = error.to_string();
    let error = error.lines().next().unwrap_or_default();
    Error::file(
        origin.path(),
        format!("not a tokenizer, or a damaged one: {error}"),
    )
    .with_hint("the file is damaged, cut short or something else; download it again")
}

fn encode(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>> {
    let encoding =
        shielded(|| tokenizer.encode_fast(prompt, true)).unwrap_or_else(|panic| Err(panic.into()));
    let encoding = encoding.map_err(cannot_split)?;
    Ok(encoding.get_ids().to_vec())
}

fn cannot_split(error: impl std::fmt::Display) -> Error {
    Error::input(format!("the prompt cannot be split into tokens: {error}"))
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
