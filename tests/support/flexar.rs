//! A bundle with a recorded FlexAR, its FlexTok and the demo's scorer and features.

use std::{fs, path::Path};

use super::{golden, json};

/// The files of the demo that the bundle shares.
const FROM_DEMO: [&str; 4] = [
    "ImageReward.pt",
    "med_config.json",
    "vocab.txt",
    "dinov2.pth",
];

/// Writes the bundle into a folder, with this transformer of the recording: `t2i` or `c2i`.
pub fn write_bundle(folder: &Path, transformer: &str) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    fs::create_dir_all(folder).unwrap();
    for name in FROM_DEMO {
        fs::write(folder.join(name), fs::read(demo.join(name)).unwrap()).unwrap();
    }
    let config = json("flextok-tiny", "config.json");
    let name = |part: &str| config["files"][part].as_str().unwrap();
    for part in [transformer, "tokenizer", "text"] {
        let to = folder.join(name(part));
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(golden("flextok-tiny").join(name(part))).unwrap() {
            let from = file.unwrap().path();
            let file = from.file_name().unwrap();
            fs::write(to.join(file), fs::read(&from).unwrap()).unwrap();
        }
    }
    let text = format!("[text]\nfamily = \"t5\"\nweights = \"{}\"", name("text"));
    let (family, text) = match transformer {
        "c2i" => ("flexar-class", ""),
        _ => ("flexar", text.as_str()),
    };
    let toml = format!(
        r#"
name = "flexar-tiny"

[generator]
family = "{family}"
weights = "{transformer}"
vae = "{vae}"
vae_groups = {groups}

{text}

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

[defaults]
decoder_steps = 4
"#,
        transformer = name(transformer),
        vae = name("tokenizer"),
        groups = config["vae_base_config"]["norm_num_groups"],
    );
    fs::write(folder.join("bundle.toml"), toml).unwrap();
}
