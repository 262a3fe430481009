//! The `tokenizer.json` of T5.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::{hub::Blob, text::T5Tokenizer};
use ttsvar_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tokenizer) = T5Tokenizer::open(&Blob::Disk(file("tokenizer.json", bytes))) {
        let _ = tokenizer.encode("A photo of two dogs, für 3 £!");
    }
});
