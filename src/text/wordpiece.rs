//! BERT's uncased WordPiece tokenizer with BLIP's two extra tokens, from a `vocab.txt` or a
//! `tokenizer.json`.
//!
//! BLIP and ImageReward append `[DEC]` and `[ENC]` to the vocabulary of `bert-base-uncased`
//! (THUDM/ImageReward at commit c1392c6, `ImageReward/models/BLIP/blip.py`, lines 16-22).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokenizers::{
    AddedToken, Tokenizer, TruncationParams, models::wordpiece::WordPiece,
    normalizers::BertNormalizer, pre_tokenizers::bert::BertPreTokenizer,
    processors::bert::BertProcessing,
};

use ttsvar_search::PromptReader;

use super::limit::{Limited, NamedLimit, dropped};
use crate::{Error, Result, hub::Blob};

/// Splits prompts for BERT.
pub struct WordPieceTokenizer {
    tokenizer: Tokenizer,
    /// The same with truncation, by the length at which it cuts. Copies are made once, since they have
    /// vocabularies of their own.
    cut: Mutex<HashMap<usize, Arc<Tokenizer>>>,
    pad: u32,
}

/// A prompt of fixed length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// `[CLS]`, the prompt, `[SEP]`, then `[PAD]` up to the length.
    pub ids: Vec<u32>,
    /// 1 for each id that is not padding.
    pub mask: Vec<u32>,
}

impl WordPieceTokenizer {
    /// Reads a `vocab.txt` (one token per line) or a `tokenizer.json`, recognised by content.
    ///
    /// # Errors
    /// The file is missing, or lacks one of `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`.
    pub fn open(vocabulary: &Blob) -> Result<Self> {
        let text = vocabulary.text()?;
        let wrong = |error| {
            Error::file(
                vocabulary.path(),
                format!("not a WordPiece vocabulary: {error}"),
            )
        };
        let mut tokenizer = match text.trim_start().starts_with('{') {
            true => super::from_text(vocabulary, &text)?,
            false => from_lines(&text, vocabulary)?,
        };
        tokenizer.with_padding(None);
        let special = [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]",
        ];
        tokenizer
            .add_special_tokens(special.map(|token| AddedToken::from(token, true)))
            .map_err(wrong)?;
        let pad = id(&tokenizer, "[PAD]", vocabulary)?;
        Ok(Self {
            tokenizer,
            cut: Mutex::default(),
            pad,
        })
    }

    /// Exactly `length` ids: a longer prompt is cut before `[SEP]`, a shorter one is padded.
    ///
    /// # Errors
    /// `length` leaves no room for a prompt between `[CLS]` and `[SEP]`.
    pub fn encode(&self, prompt: &str, length: usize) -> Result<Padded> {
        let tokenizer = self.cut_at(length)?;
        let mut ids = super::encode(&tokenizer, prompt)?;
        let mut mask = vec![1; ids.len()];
        ids.resize(length, self.pad);
        mask.resize(length, 0);
        Ok(Padded { ids, mask })
    }

    /// The reader of prompts for warnings: `length` tokens under the name of what it serves.
    pub fn prompt_reader(self: &Arc<Self>, name: &str, length: usize) -> Arc<dyn PromptReader> {
        Arc::new(NamedLimit {
            name: name.to_owned(),
            limit: length,
            tokenizer: self.clone(),
        })
    }

    /// The same tokenizer, which cuts prompts at `length` tokens.
    fn cut_at(&self, length: usize) -> Result<Arc<Tokenizer>> {
        let mut known = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokenizer) = known.get(&length) {
            return Ok(tokenizer.clone());
        }
        let mut tokenizer = self.tokenizer.clone();
        tokenizer
            .with_truncation(Some(TruncationParams {
                max_length: length,
                ..Default::default()
            }))
            .map_err(|error| {
                Error::input(format!(
                    "a prompt cannot be cut to {length} tokens: {error}"
                ))
            })?;
        let tokenizer = Arc::new(tokenizer);
        known.insert(length, tokenizer.clone());
        Ok(tokenizer)
    }

    /// The id of a word, if it is a single token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The number of different ids, `[DEC]` and `[ENC]` included.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

impl Limited for WordPieceTokenizer {
    fn dropped(&self, prompt: &str, limit: usize) -> Result<Option<String>> {
        let tokenizer = self.cut_at(limit)?;
        dropped(&tokenizer, prompt)
    }
}

fn from_lines(text: &str, origin: &Blob) -> Result<Tokenizer> {
    let wrong = |error| {
        Error::file(
            origin.path(),
            format!("not a WordPiece vocabulary: {error}"),
        )
    };
    let vocabulary = WordPiece::read_bytes(text.as_bytes()).map_err(wrong)?;
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .build()
        .map_err(wrong)?;
    let mut tokenizer = Tokenizer::new(model);
    let known = |token: &str| id(&tokenizer, token, origin).map(|id| (token.to_owned(), id));
    known("[UNK]")?;
    let cls = known("[CLS]")?;
    let sep = known("[SEP]")?;
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, true)))
        .map_err(wrong)?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(sep, cls)));
    Ok(tokenizer)
}

fn id(tokenizer: &Tokenizer, token: &str, origin: &Blob) -> Result<u32> {
    tokenizer.token_to_id(token).ok_or_else(|| {
        Error::file(
            origin.path(),
            format!("expected a WordPiece vocabulary, found no `{token}` in it"),
        )
        .with_hint("it is `vocab.txt` of google-bert/bert-base-uncased, one token a line")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_cut_by_one_copy_for_each_length() {
        let blob = Blob::Memory {
            name: "vocab.txt".to_owned(),
            bytes: b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n",
        };
        let tokenizer = WordPieceTokenizer::open(&blob).unwrap();
        for (prompt, ids) in [("a", [2, 5, 3, 0]), ("a b a", [2, 5, 6, 3])] {
            assert_eq!(tokenizer.encode(prompt, 4).unwrap().ids, ids);
        }
        tokenizer.encode("b", 6).unwrap();
        assert_eq!(tokenizer.cut.lock().unwrap().len(), 2);
    }
}
