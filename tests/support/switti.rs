//! A bundle with a recorded Switti and the demo's scorer and features.

use std::{fs, path::Path};

use super::{
    copy_folder,
    demo::{self, FEATURES, SCORER},
    golden, json,
};

/// Writes the bundle into a folder, with this transformer of the recording: `switti`,
/// `switti_ar` or `switti_plain`.
pub fn write_bundle(folder: &Path, transformer: &str) {
    demo::write_files(folder);
    let files = &json("switti-tiny", "config.json")["files"];
    let name = |part: &str| files[part].as_str().unwrap();
    for part in [transformer, "vae", "clip_l", "clip_g"] {
        copy_folder(
            &golden("switti-tiny").join(name(part)),
            &folder.join(name(part)),
        );
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

{SCORER}{FEATURES}"#,
        transformer = name(transformer),
        vae = name("vae"),
        first = name("clip_l"),
        second = name("clip_g"),
    );
    fs::write(folder.join("bundle.toml"), toml).unwrap();
}
