//! Files: atomic writing, names, texts, and a shield around third-party parsers.

mod shield;
mod text;

pub use shield::shielded;
pub use text::{MOST_BYTES, decode_text, parse_toml, read_text};

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Maximum number of bytes of a prompt in a file name: well below the usual limit of 255.
const SLUG: usize = 80;

/// Names of files that are not complete.
const PART_PREFIX: &str = ".ttsvar-";
const PART_SUFFIX: &str = ".part";

/// The temporary files that this process is writing.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes all files that are being written, before the process ends. While the result is held, none is
/// begun.
pub fn remove_unfinished() -> impl Drop {
    let unfinished = unfinished();
    for path in &*unfinished {
        let _ = fs::remove_file(path); // it may just have got its name
    }
    unfinished
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a file has a name of files that are being written. If no program writes any more,
/// a kill has left it behind.
pub fn is_partial(name: &str) -> bool {
    name.starts_with(PART_PREFIX) && name.ends_with(PART_SUFFIX)
}

/// Writes a file under a temporary name in its folder and renames it when it is complete: no
/// partial file is left behind, and an existing file is kept if writing fails.
///
/// # Errors
/// The file cannot be written.
pub fn replace(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    Temporary::write(path, bytes)?.persist(path)
}

/// The same for what `write` writes, for files that are too large for memory.
///
/// # Errors
/// `write` fails, or the file cannot be written.
pub fn replace_with(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut io::BufWriter<&mut fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    let path = path.as_ref();
    let mut temporary = Temporary::write(path, b"")?;
    let mut out = io::BufWriter::new(temporary.file.as_file_mut());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.persist(path)
}

/// The same with the bytes of another file.
///
/// # Errors
/// `from` cannot be read, or the file cannot be written.
pub fn replace_with_copy(path: impl AsRef<Path>, from: &Path) -> io::Result<()> {
    const BUFFER: usize = 1 << 20;
    let mut from = io::BufReader::with_capacity(BUFFER, fs::File::open(from)?);
    replace_with(path, |out| io::copy(&mut from, out).map(drop))
}

/// The same as [`replace`], but keeps an existing file and returns `false` if there is one.
///
/// # Errors
/// The file cannot be written.
pub fn create(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<bool> {
    let path = path.as_ref();
    match Temporary::write(path, bytes)?.persist_noclobber(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Checks that [`replace`] could write a file, without writing it: before long work whose result it
/// is to hold.
///
/// # Errors
/// A folder has its name, or the folder that is to hold it is missing or cannot be written to.
pub fn check_replaceable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(
            Error::file(path, "cannot be written: a folder has this name")
                .with_hint("rename that folder, or choose another place"),
        );
    }
    Temporary::write(path, b"").map_err(Error::io(path))?;
    Ok(())
}

/// Checks that no file has the name of a folder that will be created, or of one above it.
///
/// # Errors
/// There is such a file; the error names it.
pub fn check_folder(folder: &Path) -> Result<()> {
    // Without a separator at its end, which hides a file.
    let folder: PathBuf = folder.components().collect();
    let Some(file) = folder.ancestors().find(|path| path.is_file()) else {
        return Ok(());
    };
    Err(Error::file(file, "expected a folder, found a file").with_hint("choose another name"))
}

/// A temporary file, which is removed unless it gets a name of its own.
struct Temporary {
    file: NamedTempFile,
    _listed: Listed,
}

/// A place in [`UNFINISHED`].
struct Listed(PathBuf);

impl Drop for Listed {
    fn drop(&mut self) {
        unfinished().retain(|path| *path != self.0);
    }
}

impl Temporary {
    /// Writes a file into the folder of `path`, with the permissions of a new file of this user.
    fn write(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666)); // minus the umask
        }
        builder.prefix(PART_PREFIX).suffix(PART_SUFFIX);
        let mut temporary = {
            let mut unfinished = unfinished();
            let file = builder.tempfile_in(folder)?;
            unfinished.push(file.path().to_owned());
            let listed = Listed(file.path().to_owned());
            Self {
                file,
                _listed: listed,
            }
        };
        temporary.file.write_all(bytes)?;
        Ok(temporary)
    }

    /// Gives it its name, in place of a file that has it.
    fn persist(self, path: &Path) -> io::Result<()> {
        let named = self.file.persist(path);
        named.map(drop).map_err(|error| error.error)
    }

    /// The same, but it is an error if a file has that name.
    fn persist_noclobber(self, path: &Path) -> io::Result<()> {
        let named = self.file.persist_noclobber(path);
        named.map(drop).map_err(|error| error.error)
    }
}

/// Returns whether a file or folder is hidden, or one that a system leaves beside files.
pub fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.')
        || ["thumbs.db", "desktop.ini", "__macosx", "icon\r"]
            .contains(&name.to_lowercase().as_str())
}

/// A prompt as part of a file name: letters and digits in lower case, words joined by hyphens.
pub fn slug(prompt: &str) -> String {
    let lower = prompt.to_lowercase();
    let mut slug = String::new();
    for word in lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let hyphen = if slug.is_empty() { "" } else { "-" };
        if slug.len() + hyphen.len() + word.len() <= SLUG {
            slug.extend([hyphen, word]);
            continue;
        }
        if slug.is_empty() {
            slug.push_str(&word[..word.floor_char_boundary(SLUG)]);
        }
        break;
    }
    if slug.is_empty() {
        "image".to_owned()
    } else {
        slug
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_become_short_plain_names() {
        assert_eq!(
            slug("A red circle, and a *blue* square!"),
            "a-red-circle-and-a-blue-square"
        );
        assert_eq!(slug("?!"), "image");
        assert_eq!(slug("../etc/passwd"), "etc-passwd");
        assert_eq!(slug(&"drei Worte ".repeat(40)).len(), 76, "whole words");
        assert_eq!(slug(&"ä".repeat(300)), "ä".repeat(40));
    }

    #[test]
    fn a_file_is_replaced_or_kept_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(create(&path, b"one").unwrap());
        assert!(!create(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_is_checked_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        check_replaceable(&folder.path().join("a")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(check_replaceable(folder.path()).is_err());
        assert!(check_replaceable(&folder.path().join("none/a")).is_err());
    }

    #[test]
    fn a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "").unwrap();
        for path in [folder.path(), &folder.path().join("new/folder")] {
            check_folder(path).unwrap();
        }
        for path in [&file, &file.join(""), &file.join("inside")] {
            let error = check_folder(path).unwrap_err();
            let expected = format!("{}: expected a folder, found a file", file.display());
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.hint().unwrap(), "choose another name");
        }
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(replace(folder.path().join("no/a"), b"").is_err());
        assert!(create(folder.path().join("no/a"), b"").is_err());
    }
}
