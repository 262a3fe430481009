//! Files of `torch.save`: archives, and the format before PyTorch 1.6.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::hub;
use ttsvar_fuzz::{file, load_all};

fuzz_target!(|bytes: &[u8]| load_all(hub::open(file("weights.pth", bytes), &[])));
