//! A vocabulary of WordPiece: lines, or a `tokenizer.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::{hub::Blob, text::WordPieceTokenizer};
use ttsvar_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tokenizer) = WordPieceTokenizer::open(&Blob::Disk(file("vocab.txt", bytes))) {
        for length in [2, 8] {
            let _ = tokenizer.encode("A photo of two dogs, für 3 £!", length);
        }
    }
});
