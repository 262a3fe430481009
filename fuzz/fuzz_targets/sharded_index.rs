//! The index of a checkpoint in several files, two of which exist.
#![no_main]

use std::{fs, sync::Once};

use libfuzzer_sys::fuzz_target;
use ttsvar::hub;
use ttsvar_fuzz::{folder, load_all, torch};

static SHARDS: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    let folder = folder().join("sharded");
    SHARDS.call_once(|| {
        fs::create_dir_all(&folder).unwrap();
        for name in ["a.bin", "b.bin"] {
            fs::write(folder.join(name), torch::single_tensor_file(torch::PLAIN)).unwrap();
        }
    });
    fs::write(folder.join("model.bin.index.json"), bytes).unwrap();
    load_all(hub::open(folder, &[]));
});
