//! Files of a model that are used as they are in a second folder: weights are linked, or copied to
//! another disk; everything else is copied, so that changing the copy does not change the original.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{Error, Result, file};

/// Endings of files with weights.
const WEIGHTS: [&str; 5] = ["pth", "pt", "bin", "safetensors", "gguf"];

/// A file and its place in the second folder.
#[derive(Debug)]
pub(super) struct FileCopy {
    from: PathBuf,
    pub to: PathBuf,
}

impl FileCopy {
    /// A file, or all files of a folder.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(super) fn all(from: &Path, to: &Path) -> Result<Vec<Self>> {
        if !from.is_dir() {
            return Ok(vec![Self {
                from: from.to_owned(),
                to: to.to_owned(),
            }]);
        }
        let mut copies = vec![];
        for entry in fs::read_dir(from).map_err(Error::io(from))? {
            let path = entry.map_err(Error::io(from))?.path();
            if let Some(name) = path.file_name() {
                copies.extend(Self::all(&path, &to.join(name))?);
            }
        }
        Ok(copies)
    }

    /// Links or copies the file, in place of one that is cut short.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn make(&self) -> Result<()> {
        if let Some(folder) = self.to.parent() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let from = self.original()?;
        if self.has_weights() {
            let _ = fs::remove_file(&self.to); // if there is one
            if fs::hard_link(&from, &self.to).is_ok() {
                return Ok(());
            }
        }
        file::replace_with_copy(&self.to, &from).map_err(Error::io(&self.to))
    }

    /// The file itself: caches consist of links, which would point nowhere from another place.
    fn original(&self) -> Result<PathBuf> {
        self.from.canonicalize().map_err(Error::io(&self.from))
    }

    fn has_weights(&self) -> bool {
        let ending = self.from.extension().unwrap_or_default();
        WEIGHTS.iter().any(|known| ending == *known)
    }

    /// Returns whether the whole file is there, as a link only if it has weights.
    ///
    /// # Errors
    /// There is something else than this file, whole or cut short.
    pub(super) fn is_done(&self) -> Result<bool> {
        let length = match fs::metadata(&self.to) {
            Ok(there) if there.is_file() => there.len(),
            Ok(_) => return Err(self.other("something else than a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io(&self.to)(error)),
        };
        let from = self.original()?;
        if is_same(&from, &self.to) {
            return Ok(self.has_weights()); // others get a copy instead of a link
        }
        let whole = fs::metadata(&from).map_err(Error::io(&from))?.len();
        match length <= whole && begin_alike(&from, &self.to, length)? {
            true => Ok(length == whole),
            false => Err(self.other("another file")),
        }
    }

    /// The error for something else in its place.
    fn other(&self, found: &str) -> Error {
        let message = format!(
            "expected nothing or a copy of {}, found {found}",
            self.from.display()
        );
        Error::file(&self.to, message).with_hint("remove it, or give a new folder as --out")
    }
}

/// Returns whether two paths are names of the same file or folder.
#[cfg(unix)]
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| fs::metadata(path).map(|about| (about.dev(), about.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(not(unix))]
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Returns whether two files have the same first `length` bytes.
fn begin_alike(a: &Path, b: &Path, length: u64) -> Result<bool> {
    const BUFFER: usize = 1 << 20;
    let open = |path: &Path| File::open(path).map_err(Error::io(path));
    let mut files = [(a, open(a)?), (b, open(b)?)];
    let mut buffers = [vec![0; BUFFER], vec![0; BUFFER]];
    let mut left = length;
    while left > 0 {
        let count = left.min(BUFFER as u64) as usize;
        for ((path, file), buffer) in files.iter_mut().zip(&mut buffers) {
            file.read_exact(&mut buffer[..count])
                .map_err(Error::io(*path))?;
        }
        if buffers[0][..count] != buffers[1][..count] {
            return Ok(false);
        }
        left -= count as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_copied_once_weights_are_linked_and_others_are_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("model")).unwrap();
        fs::write(path("model/config.json"), "{}").unwrap();
        fs::write(path("model/weights.pth"), "numbers").unwrap();
        let copies = || FileCopy::all(&path("model"), &path("small/model")).unwrap();
        let make = || {
            copies().iter().try_for_each(|copy| match copy.is_done()? {
                true => Ok(()),
                false => copy.make(),
            })
        };
        make().unwrap();
        make().unwrap();
        #[cfg(unix)]
        assert!(is_same(
            &path("model/weights.pth"),
            &path("small/model/weights.pth")
        ));
        fs::write(path("small/model/config.json"), "{\"a\": 1}").unwrap();
        assert_eq!(fs::read(path("model/config.json")).unwrap(), b"{}");
        let error = make().unwrap_err();
        assert!(error.to_string().contains("found another file"), "{error}");

        // An earlier copy that was cut short, and a link of an earlier version
        fs::remove_file(path("small/model/config.json")).unwrap();
        fs::hard_link(path("model/config.json"), path("small/model/config.json")).unwrap();
        fs::remove_file(path("small/model/weights.pth")).unwrap();
        fs::write(path("small/model/weights.pth"), "num").unwrap();
        make().unwrap();
        assert_eq!(
            fs::read(path("small/model/weights.pth")).unwrap(),
            b"numbers"
        );
        assert!(!is_same(
            &path("model/config.json"),
            &path("small/model/config.json")
        ));
    }
}
