//! A bundle with a recorded FlexAR, its FlexTok and the demo's scorer and features.

use std::{fs, path::Path};

use super::{
    copy_folder,
    demo::{self, FEATURES, SCORER},
    golden, json,
};

/// Writes the bundle into a folder, with this transformer of the recording: `t2i` or `c2i`.
pub fn write_bundle(folder: &Path, transformer: &str) {
    demo::write_files(folder);
    let config = json("flextok-tiny", "config.json");
    let name = |part: &str| config["files"][part].as_str().unwrap();
    for part in [transformer, "tokenizer", "text"] {
        copy_folder(
            &golden("flextok-tiny").join(name(part)),
            &folder.join(name(part)),
        );
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

{SCORER}{FEATURES}
[defaults]
decoder_steps = 4
"#,
        transformer = name(transformer),
        vae = name("tokenizer"),
        groups = config["vae_base_config"]["norm_num_groups"],
    );
    fs::write(folder.join("bundle.toml"), toml).unwrap();
}
