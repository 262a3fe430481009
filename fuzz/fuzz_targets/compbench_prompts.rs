//! Files of prompts of T2I-CompBench, and the grammar that finds things in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::eval::t2i_compbench::{grammar::noun_phrases, prompts};
use ttsvar_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    for name in ["color_val.txt", "numeracy_val.txt", "complex_val.txt"] {
        if let Ok(prompts) = prompts::read(&[file(name, bytes)], &[]) {
            for prompt in &prompts.all {
                let _ = noun_phrases(&prompt.text);
            }
        }
    }
});
