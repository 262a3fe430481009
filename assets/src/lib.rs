//! The demo model of `ttsvar`, as files: names in its folder, and contents.

/// A file of the folder, by its name there.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../demo/", $name)) as &[u8])),*]
    };
}

/// The files of the bundle, `bundle.toml` among them.
pub const FILES: &[(&str, &[u8])] = files![
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
    "verifier.safetensors",
];
