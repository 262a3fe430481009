//! Safetensors files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::hub;
use ttsvar_fuzz::{file, load_all};

fuzz_target!(|bytes: &[u8]| load_all(hub::open(file("model.safetensors", bytes), &[])));
