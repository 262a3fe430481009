//! `ttsvar convert`: a model's files once more, with the matrices of its large networks in 8 bits.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{arguments, console::Console, progress::bytes_bar};
use crate::{
    Error, Result,
    hub::{self, Convertible, Location, catalog::converted_name, gguf_writer::write_q8_0},
    quoting,
    system::find_bundle,
};

/// Endings of the files beside weights that belong to a model.
const BESIDE: [&str; 5] = ["json", "yaml", "txt", "model", "toml"];

/// Converts the transformer and the text encoders, and links or copies everything else.
pub(super) fn run(typed: &arguments::Convert, console: &Console) -> Result<()> {
    let files = find_bundle(&typed.model, typed.weights.as_deref())?.convertible()?;
    if is_same(&files.root, &typed.out) {
        let message = "expected a folder other than the model's own";
        return Err(Error::file(&typed.out, message).with_hint("give a new folder as --out"));
    }
    fs::create_dir_all(&typed.out).map_err(Error::io(&typed.out))?;
    let mut written = vec![];
    for (location, keys) in &files.networks {
        written.push(convert(location, keys, &files, &typed.out, console)?);
    }
    for location in &files.others {
        let from = location.path();
        link_or_copy(&from, &within(&from, &files.root, &typed.out))?;
    }
    for file in &written {
        console.result(&if console.json {
            json!({"file": file.path, "before": file.before, "bytes": file.bytes}).to_string()
        } else {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            format!(
                "{}: {:.2} GB, before {:.2} GB",
                quoting::path(&file.path),
                gigabytes(file.bytes),
                gigabytes(file.before)
            )
        })?;
    }
    let option = match &typed.weights {
        Some(_) => format!("--model {} --weights", typed.model),
        None => "--model".to_owned(),
    };
    let out = quoting::file_argument(&typed.out);
    console.note(&format!("use it with {option} {out} --dtype q8"));
    Ok(())
}

/// A file that was written.
struct Written {
    path: PathBuf,
    /// Bytes of the tensors before.
    before: u64,
    bytes: u64,
}

/// Converts a file, or a folder with the files beside its weights.
fn convert(
    location: &Location,
    keys: &[&str],
    files: &Convertible,
    out: &Path,
    console: &Console,
) -> Result<Written> {
    let from = location.path();
    let to = within(&from, &files.root, out);
    let path = match location {
        Location::Folder(_) => {
            fs::create_dir_all(&to).map_err(Error::io(&to))?;
            copy_beside(&from, &to)?;
            to.join("model.gguf")
        }
        Location::File(_) => {
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            let name = converted_name(&name).unwrap_or_else(|| format!("{name}.gguf"));
            to.with_file_name(name)
        }
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let source = hub::open(location.clone(), keys)?;
    let infos = source.names().into_iter();
    let infos = infos.filter_map(|name| source.info(&name));
    let before = infos.map(|info| info.bytes()).sum();
    let bar = bytes_bar(console, before, &from.display().to_string());
    let bytes = write_q8_0(source.as_ref(), &path, |share| {
        bar.set_position((share * before as f64) as u64);
    })?;
    bar.finish_and_clear();
    Ok(Written {
        path,
        before,
        bytes,
    })
}

/// The same place in another folder.
fn within(path: &Path, root: &Path, out: &Path) -> PathBuf {
    match path.strip_prefix(root) {
        Ok(inside) => out.join(inside),
        Err(_) => out.join(path.file_name().unwrap_or_default()),
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Copies configurations and tokenizers, but no lists of shards.
fn copy_beside(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(Error::io(from))? {
        let path = entry.map_err(Error::io(from))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let belongs = BESIDE.contains(&&*ending) && !name.ends_with(".index.json");
        if belongs && path.is_file() {
            link_or_copy(&path, &to.join(&*name))?;
        }
    }
    Ok(())
}

/// Links a file or all files of a folder, or copies them to another file system. Files that are
/// there are kept.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from).map_err(Error::io(from))? {
            let path = entry.map_err(Error::io(from))?.path();
            if let Some(name) = path.file_name() {
                link_or_copy(&path, &to.join(name))?;
            }
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    // Caches consist of links, which would point nowhere from another place.
    let file = from.canonicalize().map_err(Error::io(from))?;
    match fs::hard_link(&file, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::copy(&file, to).map(drop).map_err(Error::io(to)),
        Ok(()) => Ok(()),
    }
}
