//! The `bundle.toml` of a bundle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::hub::{Blob, Description};
use ttsvar_fuzz::file;

fuzz_target!(|bytes: &[u8]| {
    let _ = Description::read(&Blob::Disk(file("bundle.toml", bytes)));
});
