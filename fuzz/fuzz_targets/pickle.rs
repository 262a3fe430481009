//! Pickles: the virtual machine by itself, then the same bytes as the state dictionary of an archive.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use ttsvar::hub::{self, pickle::Tree};
use ttsvar_fuzz::{file, load_all, torch};

fuzz_target!(|bytes: &[u8]| {
    let _ = Tree::read(bytes, Path::new("data.pkl"));
    let archive = torch::archive(bytes, &[("0", &torch::six())]);
    load_all(hub::open(file("pickle.pth", &archive), &[]));
});
