//! A bundle with the recorded HART and the demo's scorer and features.

use std::{fs, path::Path};

use super::{
    demo::{self, FEATURES, SCORER},
    golden,
};

/// The files of the recording.
const RECORDED: [&str; 8] = [
    "llm/config.json",
    "llm/ema_model.bin",
    "llm/pytorch_model.bin",
    "tokenizer/pytorch_model.bin",
    "Qwen2-VL-1.5B-Instruct/config.json",
    "Qwen2-VL-1.5B-Instruct/model.safetensors",
    "Qwen2-VL-1.5B-Instruct/tokenizer.json",
    "Qwen2-VL-1.5B-Instruct/tokenizer_config.json",
];

/// Writes the bundle into a folder, with these weights of the transformer.
pub fn write_bundle(folder: &Path, weights: &str) {
    demo::write_files(folder);
    let recorded = golden("hart-tiny");
    for name in RECORDED {
        let to = folder.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, fs::read(recorded.join(name)).unwrap()).unwrap();
    }
    let toml = format!(
        r#"
name = "hart-tiny"

[generator]
family = "hart"
weights = "llm/{weights}"
vae = "tokenizer/pytorch_model.bin"

[text]
family = "qwen2"
weights = "Qwen2-VL-1.5B-Instruct"

{SCORER}{FEATURES}"#
    );
    fs::write(folder.join("bundle.toml"), toml).unwrap();
}
