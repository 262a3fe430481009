//! GenEval's `evaluation_metadata.jsonl`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::eval::geneval::prompts;
use ttsvar_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    let _ = prompts::read(&file("evaluation_metadata.jsonl", bytes));
});
