//! What bundles of recordings take from the demo: its scorer and its features.

use std::{fs, path::Path};

/// Their files.
const FILES: [&str; 4] = [
    "ImageReward.pt",
    "med_config.json",
    "vocab.txt",
    "dinov2.pth",
];

/// The scorer in a `bundle.toml`.
pub const SCORER: &str = r#"
[scorer]
family = "demo-reward"
weights = "ImageReward.pt"
config = "med_config.json"
vocab = "vocab.txt"
heads = 4
"#;

/// The features in a `bundle.toml`.
pub const FEATURES: &str = r#"
[features]
family = "dinov2"
weights = "dinov2.pth"
heads = 4
size = [64, 64]
"#;

/// Writes their files into a folder, which is made if need be.
pub fn write_files(folder: &Path) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    fs::create_dir_all(folder).unwrap();
    for name in FILES {
        fs::write(folder.join(name), fs::read(demo.join(name)).unwrap()).unwrap();
    }
}
