//! The small demo models, trained by this project and built into the program.

use crate::hub::Embedded;

/// A file of `assets/demo`, by its name there.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../assets/demo/", $name)) as &[u8])),*]
    };
}

/// The files of the demo bundle, `bundle.toml` among them.
pub const FILES: Embedded = files![
    "bundle.toml",
    "infinity.pth",
    "infinity_vae.pth",
    "t5/config.json",
    "t5/tokenizer.json",
    "t5/model.safetensors",
    "ImageReward.pt",
    "med_config.json",
    "vocab.txt",
    "dinov2.pth",
];
