//! CLIP's tokenizer: merges, or a `tokenizer.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::{hub::Blob, text::ClipTokenizer};
use ttsvar_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    let blob = Blob::Disk(file("vocabulary", bytes));
    for tokenizer in [ClipTokenizer::open(&blob), ClipTokenizer::open_clip(&blob)] {
        if let Ok(tokenizer) = tokenizer {
            let _ = tokenizer.encode("A photo of two dogs, für 3 £!");
        }
    }
});
