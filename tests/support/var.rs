//! A bundle with the recorded VAR and the demo's scorer and features.

use std::{fs, path::Path};

use super::{
    demo::{self, FEATURES, SCORER},
    golden, json,
};

/// Writes the bundle into a folder. `more` are lines for its [generator].
pub fn write_bundle(folder: &Path, more: &str) {
    demo::write_files(folder);
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

{SCORER}{FEATURES}"#
    );
    fs::write(folder.join("bundle.toml"), toml).unwrap();
}
