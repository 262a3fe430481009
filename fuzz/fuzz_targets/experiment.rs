//! Experiment files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::{eval::Experiment, search::Drafts};
use ttsvar_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    let _ = Experiment::read(&file("experiment.toml", bytes), 13, Drafts::default());
});
