//! Shared by the fuzz targets: files for readers that ask for a path, and loading whole checkpoints.

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/support/torch.rs"]
pub mod torch;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::{Arc, OnceLock},
};

use ttsvar::nn::TensorSource;

/// A folder for this process; every run overwrites the files of the last one.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = env::temp_dir().join(format!("ttsvar-fuzz-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// Writes a file into [`folder`] and returns its path.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Loads every tensor of a file that opened. What a file promises, it must also keep or refuse.
pub fn load_all(opened: ttsvar::Result<Arc<dyn TensorSource>>) {
    let Ok(source) = opened else { return };
    for name in source.names() {
        let info = source.info(&name).expect("a listed tensor has a shape");
        if let Ok(tensor) = source.load(&name) {
            assert_eq!(tensor.dims(), info.shape);
        }
    }
}
