//! `ttsvar convert`: a model's files once more, with the matrices of its large networks in 8 bits.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    arguments,
    console::Console,
    copying::{FileCopy, is_same},
    numbers,
    progress::bytes_bar,
};
use crate::{
    Error, Result,
    hub::{
        self, Convertible, Location,
        bundle::{FILE, is_text},
        catalog::converted_name,
        gguf_writer::write_q8_0,
    },
    quoting,
    system::find_bundle,
};

/// Tensors that are named when they are left out.
const NAMED: usize = 3;

/// Converts the transformer and the text encoders, and links or copies everything else.
pub(super) fn run(typed: &arguments::Convert, console: &Console) -> Result<()> {
    let files = find_bundle(&typed.model, typed.weights.as_deref())?.convertible()?;
    let out = &typed.out;
    if is_same(&files.root, out) {
        let message = "expected a folder other than the model's own";
        return Err(Error::file(out, message).with_hint("give a new folder as --out"));
    }
    let copies = pending(copies(&files, out)?, out)?;
    fs::create_dir_all(out).map_err(Error::io(out))?;
    let mut written = vec![];
    for (location, keys) in &files.networks {
        written.push(convert(location, keys, &files, out, console)?);
    }
    copies.iter().try_for_each(FileCopy::make)?;
    for file in &written {
        console.result(&if console.json {
            json!({"file": file.path, "before": file.before, "bytes": file.bytes}).to_string()
        } else {
            format!(
                "{}: {}, before {}",
                quoting::path(&file.path),
                numbers::bytes(file.bytes),
                numbers::bytes(file.before)
            )
        })?;
        if !file.left_out.is_empty() {
            console.note(&file.left_out());
        }
    }
    let option = match &typed.weights {
        Some(_) => format!("--model {} --weights", typed.model),
        None => "--model".to_owned(),
    };
    let out = quoting::file_argument(out);
    console.note(&format!("use it with {option} {out} --dtype q8"));
    Ok(())
}

/// The files that are linked or copied, each once.
fn copies(files: &Convertible, out: &Path) -> Result<Vec<FileCopy>> {
    let mut all = vec![];
    for (location, _) in &files.networks {
        if let Location::Folder(folder) = location {
            let from = folder.path();
            let to = within(&from, &files.root, out);
            let names = folder.names().into_iter().filter(|name| is_text(name));
            for name in names {
                all.extend(FileCopy::all(&from.join(&name), &to.join(&name))?);
            }
        }
    }
    for location in &files.others {
        let from = location.path();
        all.extend(FileCopy::all(&from, &within(&from, &files.root, out))?);
    }
    let mut copies: Vec<FileCopy> = vec![];
    for copy in all {
        if !copies.iter().any(|other| other.to == copy.to) {
            copies.push(copy);
        }
    }
    Ok(copies)
}

/// Those of these files that are not in the folder yet.
///
/// # Errors
/// It has another model, or another file in the place of one of them.
fn pending(copies: Vec<FileCopy>, out: &Path) -> Result<Vec<FileCopy>> {
    let description = out.join(FILE);
    let own = copies.iter().find(|copy| copy.to == description);
    let has_other = match own {
        Some(copy) => copy.is_done().is_err(),
        None => description.exists(),
    };
    if has_other {
        let message = "expected a folder without another model, found the description of one";
        return Err(Error::file(description, message).with_hint("give a new folder as --out"));
    }
    let mut pending = vec![];
    for copy in copies {
        if !copy.is_done()? {
            pending.push(copy);
        }
    }
    Ok(pending)
}

/// A file that was written.
struct Written {
    path: PathBuf,
    /// Bytes of the tensors before.
    before: u64,
    bytes: u64,
    /// The tensors that are not in it, with the reasons.
    left_out: Vec<String>,
}

impl Written {
    /// What is not in the file.
    fn left_out(&self) -> String {
        let mut named: Vec<&str> = self.left_out.iter().map(String::as_str).collect();
        named.truncate(NAMED);
        let others = match self.left_out.len() - named.len() {
            0 => String::new(),
            others => format!(" and {}", numbers::counted(others, "other")),
        };
        format!(
            "{}: GGUF files cannot hold the tensors {}{others}",
            quoting::path(&self.path),
            named.join(", ")
        )
    }
}

/// Converts a file, or the weights of a folder.
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
    let before = infos.fold(0, |sum: u64, info| sum.saturating_add(info.bytes()));
    let bar = bytes_bar(console, before, &from.display().to_string());
    let file = write_q8_0(source.as_ref(), &path, |share| {
        bar.set_position((share * before as f64) as u64);
    })?;
    bar.finish_and_clear();
    Ok(Written {
        path,
        before,
        bytes: file.bytes,
        left_out: file.left_out,
    })
}

/// The same place in another folder.
fn within(path: &Path, root: &Path, out: &Path) -> PathBuf {
    match path.strip_prefix(root) {
        Ok(inside) => out.join(inside),
        Err(_) => out.join(path.file_name().unwrap_or_default()),
    }
}
