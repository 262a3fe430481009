//! Opens weight files of all formats, recognised by content and never by the name's ending.

use std::{path::Path, sync::Arc};

use super::{
    blob::{Blob, Folder, Location, WHERE_TO_GET},
    legacy_torch_file::{self, LegacyTorchFile},
    safetensors_file::SafetensorsFile,
    sharded::Sharded,
    torch_file::TorchFile,
};
use crate::{Error, LoadError, Result, nn::TensorSource};

/// Opens a weight file, or a folder with one: PyTorch or safetensors, whole or in shards with an
/// index.
///
/// In a PyTorch file the tensors may lie below other keys: each of `keys` is a dotted path to look
/// under first (`"trainer.gpt_fsdp"`); otherwise the mapping with the most tensors is taken.
///
/// # Errors
/// The file is missing, of another kind (named in the message), damaged, or asks for more than
/// tensors.
pub fn open(location: impl Into<Location>, keys: &[&str]) -> Result<Arc<dyn TensorSource>> {
    match location.into() {
        Location::File(blob) => open_file(blob, keys),
        Location::Folder(folder) => open_folder(&folder, keys),
    }
}

fn open_file(blob: Blob, keys: &[&str]) -> Result<Arc<dyn TensorSource>> {
    let start = blob.start(512)?;
    if start.starts_with(b"PK\x03\x04") {
        return Ok(Arc::new(TorchFile::open(blob, keys)?));
    }
    if start.starts_with(legacy_torch_file::MAGIC) {
        return Ok(Arc::new(LegacyTorchFile::open(blob, keys)?));
    }
    if looks_like_safetensors(&start) {
        return Ok(Arc::new(SafetensorsFile::open(blob)?));
    }
    Err(foreign(blob.path(), &start))
}

/// A safetensors file begins with the header's length as 8 bytes, which are not text, then `{`.
fn looks_like_safetensors(start: &[u8]) -> bool {
    start.get(8) == Some(&b'{') && start[..8].iter().any(|byte| *byte == 0 || *byte >= 0x80)
}

/// Describes a file that does not hold weights.
fn foreign(path: &Path, start: &[u8]) -> Error {
    const DOWNLOAD: &str = "download the file itself";
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    let (what, hint) = if start.is_empty() {
        ("an empty file".into(), "download it again".into())
    } else if text.starts_with("<!doctype")
        || text.starts_with("<html")
        || text.starts_with("<?xml")
    {
        (
            "a web page".into(),
            format!("{DOWNLOAD}, not the page that shows it; {WHERE_TO_GET}"),
        )
    } else if text.starts_with("version https://git-lfs") {
        (
            "a Git LFS pointer, not the file it stands for".into(),
            "run `git lfs pull` in its folder".to_owned(),
        )
    } else {
        (
            other_kind(start),
            format!("is this the right file? {WHERE_TO_GET}"),
        )
    };
    Error::from(LoadError::NotACheckpoint {
        path: path.to_owned(),
        found: what,
        hint,
    })
}

fn other_kind(start: &[u8]) -> String {
    let known: [(&[u8], &str); 10] = [
        (b"\x80", "a bare pickle"),
        (b"GGUF", "a GGUF file"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"{", "a JSON text"),
        (b"\x08\x07", "an ONNX model"),
    ];
    match known.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, what)) => (*what).to_owned(),
        None if start.get(257..262) == Some(b"ustar") => "a tar archive".to_owned(),
        None => {
            let shown: Vec<String> = start
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!(
                "something else, which begins with the bytes {}",
                shown.join(" ")
            )
        }
    }
}

/// Files that a folder of weights may have, the preferred first.
const WHOLE: [&str; 4] = [
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "model.bin",
];

fn open_folder(folder: &Folder, keys: &[&str]) -> Result<Arc<dyn TensorSource>> {
    if let Some(blob) = WHOLE.iter().take(2).find_map(|name| folder.file(name)) {
        return open_file(blob, keys);
    }
    let names = folder.names();
    for ending in [".safetensors.index.json", ".bin.index.json"] {
        if let Some(index) = names
            .iter()
            .find(|name| name.ends_with(ending))
            .and_then(|name| folder.file(name))
        {
            return Ok(Arc::new(Sharded::open(folder, &index)?));
        }
    }
    if let Some(blob) = WHOLE.iter().skip(2).find_map(|name| folder.file(name)) {
        return open_file(blob, keys);
    }
    let endings = [".safetensors", ".pth", ".pt", ".bin"];
    let weights: Vec<&String> = names
        .iter()
        .filter(|name| endings.iter().any(|end| name.ends_with(end)))
        .collect();
    match weights.as_slice() {
        [only] => open_file(folder.require(only)?, keys),
        found => Err(no_weights(folder, found)),
    }
}

fn no_weights(folder: &Folder, found: &[&String]) -> Error {
    let what = match found {
        [] => "no weight file in it".to_owned(),
        several => format!(
            "{} weight files in it and no index that joins them",
            several.len()
        ),
    };
    let expected =
        "expected `model.safetensors`, `pytorch_model.bin`, or shards with their `.index.json`";
    Error::file(folder.path(), format!("{what}; {expected}")).with_hint(WHERE_TO_GET)
}
