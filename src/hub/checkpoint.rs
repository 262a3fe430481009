//! Opens weight files of all formats, recognised by content and never by the name's ending.

use std::{collections::HashSet, path::Path, sync::Arc};

use super::{
    blob::{Blob, Folder, Location, WHERE_TO_GET},
    gguf_file::{self, GgufFile},
    legacy_torch_file::{self, LegacyTorchFile},
    safetensors_file::SafetensorsFile,
    sharded::{self, Sharded},
    state_dict::{self, Wanted},
    torch_file::TorchFile,
};
use crate::{Error, LoadError, Result, nn::TensorSource};

/// Opens a weight file, or a folder with one: PyTorch, safetensors or GGUF, whole or in shards with an
/// index. Of several state dicts in it, the one that is wanted ([`super::state_dict`]).
///
/// # Errors
/// The file is missing, of another kind (named in the message), damaged, or asks for more than
/// tensors; or it is not clear which of its state dicts is meant.
pub fn open<'a>(
    location: impl Into<Location>,
    wanted: impl Into<Wanted<'a>>,
) -> Result<Arc<dyn TensorSource>> {
    let file = match location.into() {
        Location::File(blob) => open_file(blob)?,
        Location::Folder(folder) => open_folder(&folder)?,
    };
    state_dict::select(file.tensors, &wanted.into(), &file.dictionaries)
}

/// An open file with all of its tensors under their full names.
pub(super) struct OpenFile {
    pub(super) tensors: Arc<dyn TensorSource>,
    /// The prefixes of names at which the file has a dictionary.
    dictionaries: HashSet<String>,
}

impl OpenFile {
    fn new(tensors: impl TensorSource + 'static) -> Self {
        Self {
            tensors: Arc::new(tensors),
            dictionaries: HashSet::new(),
        }
    }
}

/// Opens one file.
///
/// # Errors
/// As [`open`].
pub(super) fn open_file(blob: Blob) -> Result<OpenFile> {
    let start = blob.start(512)?;
    if start.starts_with(b"PK\x03\x04") {
        let file = TorchFile::open(blob)?;
        let dictionaries = file.dictionaries().clone();
        return Ok(OpenFile {
            dictionaries,
            ..OpenFile::new(file)
        });
    }
    if legacy_torch_file::begins_with_magic(&start) {
        let file = LegacyTorchFile::open(blob)?;
        let dictionaries = file.dictionaries().clone();
        return Ok(OpenFile {
            dictionaries,
            ..OpenFile::new(file)
        });
    }
    if start.starts_with(gguf_file::MAGIC) {
        return Ok(OpenFile::new(GgufFile::open(blob)?));
    }
    if looks_like_safetensors(&start) {
        return Ok(OpenFile::new(SafetensorsFile::open(blob)?));
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
    let known: [(&[u8], &str); 9] = [
        (b"\x80", "a bare pickle"),
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
const WHOLE: [&str; 5] = [
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.gguf",
    "pytorch_model.bin",
    "model.bin",
];

/// The end of the name of an index of shards.
pub(super) const INDEX: &str = ".index.json";

/// Returns whether a file is an index of shards, by its name.
pub(super) fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(INDEX)
}

/// Returns whether a file is one of several with the weights of a model, by its name:
/// `model-00001-of-00002.safetensors`.
fn is_shard(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let total = name.rsplit_once("-of-").and_then(|(_, rest)| {
        let digits = rest.split('.').next()?;
        digits.parse::<u32>().ok()
    });
    total.is_some_and(|total| total > 1)
}

fn open_folder(folder: &Folder) -> Result<OpenFile> {
    let file = weights_of(folder)?;
    match is_index(file.path()) {
        true => Ok(OpenFile::new(Sharded::open(folder, &file)?)),
        false => open_file(file),
    }
}

/// The file with the weights of a folder, or the index of its shards.
///
/// # Errors
/// There is none, or it is not clear which one it is.
pub(super) fn weights_of(folder: &Folder) -> Result<Blob> {
    if let Some(blob) = WHOLE.iter().take(3).find_map(|name| folder.file(name)) {
        return Ok(blob);
    }
    let names = folder.names();
    let indexes = [".safetensors", ".bin"].map(|kind| format!("{kind}{INDEX}"));
    let index = indexes
        .iter()
        .find_map(|end| names.iter().find(|name| name.ends_with(end)));
    let blob = index.and_then(|name| folder.file(name));
    let blob = blob.or_else(|| WHOLE.iter().skip(3).find_map(|name| folder.file(name)));
    if let Some(blob) = blob {
        return Ok(blob);
    }
    let endings = [".safetensors", ".gguf", ".pth", ".pt", ".bin"];
    let weights: Vec<&String> = names
        .iter()
        .filter(|name| endings.iter().any(|end| name.ends_with(end)))
        .collect();
    match weights.as_slice() {
        [only] => folder.require(only),
        found => Err(no_weights(folder, found)),
    }
}

/// What is missing of weights in several files: shards that the index names, or the index, which is
/// downloaded last. Other faults of them are found when they are opened.
pub(super) fn missing_parts(location: &Location) -> Vec<String> {
    match location {
        Location::File(blob) => match blob.path().parent() {
            Some(folder) if is_index(blob.path()) => {
                sharded::missing_shards(&Folder::Disk(folder.to_owned()), blob)
            }
            _ => vec![],
        },
        Location::Folder(folder) => match weights_of(folder) {
            Ok(file) if is_index(file.path()) => sharded::missing_shards(folder, &file),
            Ok(file) if !is_shard(file.path()) => vec![],
            _ => match folder.names().iter().any(|name| is_shard(name.as_ref())) {
                true => vec![format!("*{INDEX}")],
                false => vec![],
            },
        },
    }
}

fn no_weights(folder: &Folder, found: &[&String]) -> Error {
    let what = match found {
        [] => "contains no weight file".to_owned(),
        several => format!(
            "contains {} weight files and no index that joins them",
            several.len()
        ),
    };
    let expected =
        "expected `model.safetensors`, `pytorch_model.bin`, or shards with their `.index.json`";
    Error::file(folder.path(), format!("{what}; {expected}")).with_hint(WHERE_TO_GET)
}
