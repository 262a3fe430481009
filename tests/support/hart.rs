//! A bundle with the recorded HART and the demo's scorer and features.

use std::{fs, path::Path};

use super::golden;

/// The files of the demo that the bundle shares.
const FROM_DEMO: [&str; 4] = [
    "ImageReward.pt",
    "med_config.json",
    "vocab.txt",
    "dinov2.pth",
];

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
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    let recorded = golden("hart-tiny");
    let demo = FROM_DEMO.map(|name| (demo.join(name), name));
    let recorded = RECORDED.map(|name| (recorded.join(name), name));
    for (from, name) in demo.into_iter().chain(recorded) {
        let to = folder.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, fs::read(from).unwrap()).unwrap();
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

[scorer]
family = "demo-reward"
weights = "ImageReward.pt"
config = "med_config.json"
vocab = "vocab.txt"
heads = 4

[features]
family = "dinov2"
weights = "dinov2.pth"
heads = 4
size = [64, 64]
"#
    );
    fs::write(folder.join("bundle.toml"), toml).unwrap();
}
