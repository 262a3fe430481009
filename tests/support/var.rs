//! A bundle with the recorded VAR and the demo's scorer and features.

use std::{fs, path::Path};

use super::{golden, json};

/// The files of the demo that the bundle shares.
const FROM_DEMO: [&str; 4] = [
    "ImageReward.pt",
    "med_config.json",
    "vocab.txt",
    "dinov2.pth",
];

/// Writes the bundle into a folder. `more` are lines for its [generator].
pub fn write_bundle(folder: &Path, more: &str) {
    fs::create_dir_all(folder).unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    for name in FROM_DEMO {
        fs::copy(demo.join(name), folder.join(name)).unwrap();
    }
    let files = &json("var-tiny", "config.json")["files"];
    let copy = |part: &str, name: &str| {
        let from = golden("var-tiny").join(files[part].as_str().unwrap());
        fs::copy(from, folder.join(name)).unwrap();
    };
    copy("var_shared_aln_false", "var.pth");
    copy("vae", "vae.pth");
    let toml = format!(
        r#"
name = "var-tiny"

[generator]
family = "var"
weights = "var.pth"
vae = "vae.pth"
{more}

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
