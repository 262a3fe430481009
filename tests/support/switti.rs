//! A bundle with a recorded Switti and the demo's scorer and features.

use std::{fs, path::Path};

use super::{golden, json};

/// The files of the demo that the bundle shares.
const FROM_DEMO: [&str; 4] = [
    "ImageReward.pt",
    "med_config.json",
    "vocab.txt",
    "dinov2.pth",
];

/// Writes the bundle into a folder, with this transformer of the recording: `switti`,
/// `switti_ar` or `switti_plain`.
pub fn write_bundle(folder: &Path, transformer: &str) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    fs::create_dir_all(folder).unwrap();
    for name in FROM_DEMO {
        fs::write(folder.join(name), fs::read(demo.join(name)).unwrap()).unwrap();
    }
    let files = &json("switti-tiny", "config.json")["files"];
    let name = |part: &str| files[part].as_str().unwrap();
    for part in [transformer, "vae", "clip_l", "clip_g"] {
        let to = folder.join(name(part));
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(golden("switti-tiny").join(name(part))).unwrap() {
            let from = file.unwrap().path();
            let file = from.file_name().unwrap();
            fs::write(to.join(file), fs::read(&from).unwrap()).unwrap();
        }
    }
    let toml = format!(
        r#"
name = "switti-tiny"

[generator]
family = "switti"
weights = "{transformer}"
vae = "{vae}"

[text]
family = "clip-pair"
weights = "{first}"
second = "{second}"

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
"#,
        transformer = name(transformer),
        vae = name("vae"),
        first = name("clip_l"),
        second = name("clip_g"),
    );
    fs::write(folder.join("bundle.toml"), toml).unwrap();
}
