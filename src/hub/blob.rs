//! Sources of bytes: a file on disk or one built into the program, and folders of either kind.
//!
//! A bundle loads by the same code from a folder and from the binary, because everything in
//! [`crate::hub`] asks a [`Blob`] for bytes and a [`Folder`] for blobs, never the file system.

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use rayon::prelude::*;

use super::settings;
use crate::{Error, Result, file, input};

/// The hint for a missing file.
pub(super) const WHERE_TO_GET: &str =
    "`ttsvar models` lists every model's files and where each is published";

/// Bytes that one thread reads at a time.
const PART: usize = 4 << 20;

/// Bytes from which on the system is told that all of them will be read. For fewer its own reading
/// ahead, some megabytes at a time, is faster.
#[cfg(target_os = "linux")]
const MANY: u64 = 32 << 20;

/// A named sequence of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// A file on disk, read when needed.
    Disk(PathBuf),
    /// Bytes built into the program.
    Memory {
        /// Its name, for messages.
        name: String,
        /// Its content.
        bytes: &'static [u8],
    },
}

impl Blob {
    /// The path on disk or the name in memory, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::Disk(path) => path,
            Self::Memory { name, .. } => Path::new(name),
        }
    }

    /// Number of bytes.
    ///
    /// # Errors
    /// The file is missing, unreadable, or something other than a file.
    pub fn len(&self) -> Result<u64> {
        match self {
            Self::Memory { bytes, .. } => Ok(bytes.len() as u64),
            Self::Disk(path) => match std::fs::metadata(path) {
                Ok(about) if about.is_file() => Ok(about.len()),
                Ok(_) => Err(Error::file(path, "expected a file, found something else")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path)),
                Err(error) => Err(Error::io(path)(error)),
            },
        }
    }

    /// Returns whether there are no bytes at all.
    ///
    /// # Errors
    /// As [`Blob::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// A reader from the first byte on; a file is opened at the first read.
    pub fn reader(&self) -> BlobReader {
        match self {
            Self::Disk(path) => BlobReader::Disk {
                path: path.clone(),
                file: None,
            },
            Self::Memory { bytes, .. } => BlobReader::Memory(Cursor::new(bytes)),
        }
    }

    /// Opens it for reading at any place.
    ///
    /// Files are not mapped into memory: a file that shrinks meanwhile would end the program.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(&self) -> Result<OpenBlob> {
        Ok(match self {
            Self::Memory { name, bytes } => OpenBlob::Memory {
                name: name.clone(),
                bytes,
            },
            Self::Disk(path) => OpenBlob::Disk {
                path: path.clone(),
                file: input::open(path)?,
            },
        })
    }

    /// The `length` bytes that begin at `offset`; allocates only after checking that they are
    /// there.
    ///
    /// # Errors
    /// The bytes are not all there, or cannot be read.
    pub fn read_at(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let size = self.len()?;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            let message = format!(
                "expected {length} bytes from byte {offset} on, but the file has {size} bytes"
            );
            return Err(cut_short(self.path(), message));
        }
        let mut bytes = vec![0; length as usize];
        self.open()?.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// The first `length` bytes, or all where there are fewer.
    ///
    /// # Errors
    /// As [`Blob::read_at`].
    pub fn start(&self, length: u64) -> Result<Vec<u8>> {
        self.read_at(0, self.len()?.min(length))
    }

    /// All bytes of a file that should be small, as UTF-8 text.
    ///
    /// # Errors
    /// The file is missing, larger than 256 MiB, or not UTF-8.
    pub fn text(&self) -> Result<String> {
        let size = self.len()?;
        if size > file::MOST_BYTES {
            let most = file::MOST_BYTES;
            return Err(Error::file(
                self.path(),
                format!("expected a text of at most {most} bytes, found {size}"),
            ));
        }
        file::decode_text(self.path(), self.read_at(0, size)?)
    }

    /// The content of a YAML file, as far as [`settings`] reads YAML.
    ///
    /// # Errors
    /// As [`Blob::text`], or it is something else; the message has the line.
    pub fn yaml(&self) -> Result<serde_json::Value> {
        settings::read(&self.text()?)
            .map_err(|error| Error::file(self.path(), format!("not the expected YAML: {error}")))
    }

    /// The content of a JSON file.
    ///
    /// # Errors
    /// As [`Blob::text`], or it is not the JSON that `T` needs; the message has line and column.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text()?)
            .map_err(|e| Error::file(self.path(), format!("not the expected JSON: {e}")))
    }
}

/// The error for a file that ends too early.
fn cut_short(path: &Path, message: impl Into<String>) -> Error {
    Error::file(path, message).with_hint("the file is cut short; download it again")
}

/// Fills `bytes` with those that begin at `offset`, with all threads: `read` does so for a part.
/// Parts are read from the front to the end, as the system expects of large files.
///
/// # Errors
/// An error of `read`.
pub(super) fn fill_in_parts(
    offset: u64,
    bytes: &mut [u8],
    read: impl Fn(u64, &mut [u8]) -> Result<()> + Sync,
) -> Result<()> {
    bytes
        .chunks_mut(PART)
        .enumerate()
        .par_bridge()
        .try_for_each(|(i, part)| read(offset + (i * PART) as u64, part))
}

/// An open [`Blob`]. Several threads may read it at once, each at its own place. It stays open while
/// its tensors are loaded, since the system learns from what was read before what to read ahead.
pub(super) enum OpenBlob {
    Disk { path: PathBuf, file: File },
    Memory { name: String, bytes: &'static [u8] },
}

impl OpenBlob {
    /// The path on disk or the name in memory, for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Disk { path, .. } => path,
            Self::Memory { name, .. } => Path::new(name),
        }
    }

    /// Fills `bytes` with those that begin at `offset`.
    ///
    /// # Errors
    /// The bytes are not all there, or cannot be read.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let read = match self {
            Self::Disk { file, .. } => read_exact_at(file, offset, bytes),
            Self::Memory { bytes: all, .. } => {
                let mut cursor = Cursor::new(*all);
                cursor.set_position(offset);
                cursor.read_exact(bytes)
            }
        };
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                cut_short(self.path(), "the file is shorter than when it was opened")
            }
            _ => Error::io(self.path())(error),
        })
    }

    /// Tells the system that these bytes will be read in parts, so that it can begin.
    pub(super) fn will_need(&self, offset: u64, length: u64) {
        #[cfg(target_os = "linux")]
        if let Self::Disk { file, .. } = self
            && length >= MANY
        {
            use std::os::fd::AsRawFd;
            // SAFETY: The descriptor is open; the call only gives advice.
            let _ = unsafe {
                libc::posix_fadvise(
                    file.as_raw_fd(),
                    offset as libc::off_t,
                    length as libc::off_t,
                    libc::POSIX_FADV_WILLNEED,
                )
            };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, length);
    }

    /// Fills `bytes` with those that begin at `offset`, with all threads.
    ///
    /// # Errors
    /// As [`OpenBlob::read`].
    pub(super) fn fill(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.will_need(offset, bytes.len() as u64);
        fill_in_parts(offset, bytes, |offset, part| self.read(offset, part))
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The error for a missing file.
pub(super) fn missing(path: &Path) -> Error {
    Error::file(path, "no such file").with_hint(WHERE_TO_GET)
}

/// Reads a [`Blob`]. A clone starts at the first byte and, for a file, with a separate handle.
#[derive(Debug)]
pub enum BlobReader {
    /// A file on disk.
    Disk {
        /// Its path.
        path: PathBuf,
        /// Its handle, once something was read.
        file: Option<File>,
    },
    /// Bytes in memory.
    Memory(Cursor<&'static [u8]>),
}

impl Clone for BlobReader {
    fn clone(&self) -> Self {
        match self {
            Self::Disk { path, .. } => Self::Disk {
                path: path.clone(),
                file: None,
            },
            Self::Memory(cursor) => Self::Memory(Cursor::new(cursor.get_ref())),
        }
    }
}

fn opened<'a>(path: &Path, file: &'a mut Option<File>) -> io::Result<&'a mut File> {
    match file {
        Some(file) => Ok(file),
        None => {
            let opened = input::open(path).map_err(|error| match error {
                Error::Io { source, .. } => source,
                other => io::Error::other(other),
            })?;
            Ok(file.insert(opened))
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Disk { path, file } => opened(path, file)?.read(buffer),
            Self::Memory(cursor) => cursor.read(buffer),
        }
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Disk { path, file } => opened(path, file)?.seek(position),
            Self::Memory(cursor) => cursor.seek(position),
        }
    }
}

/// The name of something inside a folder without `./` in front; `None` if it leads out of the folder or
/// names the folder itself.
pub(super) fn plain_name(name: &str) -> Option<String> {
    let mut parts = vec![];
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Names and contents of files built into the program; names have `/` between their parts.
pub type Embedded = &'static [(&'static str, &'static [u8])];

/// A set of named blobs.
#[derive(Clone, Debug)]
pub enum Folder {
    /// A folder on disk.
    Disk(PathBuf),
    /// Files built into the program.
    Memory {
        /// Name of the whole set, for messages.
        name: String,
        /// The common prefix of all names of this folder: empty, or `sub/`.
        prefix: String,
        /// The files of the whole set.
        files: Embedded,
    },
}

impl Folder {
    /// Files built into the program, under a name for messages.
    pub fn embedded(name: impl Into<String>, files: Embedded) -> Self {
        Self::Memory {
            name: name.into(),
            prefix: String::new(),
            files,
        }
    }

    /// The path on disk or the name in memory, for messages.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Disk(path) => path.clone(),
            Self::Memory { name, prefix, .. } => Path::new(name).join(prefix.trim_end_matches('/')),
        }
    }

    /// The file or folder of this name (parts separated by `/`, perhaps with `./` in front), if there is
    /// one. A name that leads out of this folder finds nothing.
    pub fn find(&self, name: &str) -> Option<Location> {
        let name = plain_name(name)?;
        match self {
            Self::Disk(path) => {
                let path = path.join(name);
                path.exists().then(|| Location::from(path))
            }
            Self::Memory {
                name: set,
                prefix,
                files,
            } => {
                let full = format!("{prefix}{name}");
                if let Some((_, bytes)) = files.iter().find(|(n, _)| *n == full) {
                    return Some(Location::File(Blob::Memory {
                        name: format!("{set}/{full}"),
                        bytes,
                    }));
                }
                let prefix = format!("{full}/");
                let any = files.iter().any(|(n, _)| n.starts_with(&prefix));
                any.then(|| {
                    Location::Folder(Self::Memory {
                        name: set.clone(),
                        prefix,
                        files,
                    })
                })
            }
        }
    }

    /// The file of this name, if there is one.
    pub fn file(&self, name: &str) -> Option<Blob> {
        match self.find(name) {
            Some(Location::File(blob)) => Some(blob),
            _ => None,
        }
    }

    /// The file of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn require(&self, name: &str) -> Result<Blob> {
        self.file(name)
            .ok_or_else(|| missing(&self.path().join(name)))
    }

    /// Names of the files right inside, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Self::Disk(path) => {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                entries
                    .filter(|e| !file::is_hidden(&e.path()) && e.path().is_file())
                    .filter_map(|e| e.file_name().into_string().ok())
                    .collect()
            }
            Self::Memory { prefix, files, .. } => {
                let below = files
                    .iter()
                    .filter_map(|(name, _)| name.strip_prefix(prefix.as_str()));
                below
                    .filter(|name| !name.contains('/'))
                    .map(str::to_owned)
                    .collect()
            }
        };
        names.sort();
        names
    }

    /// The folders right inside, in order of their names.
    pub fn folders(&self) -> Vec<Self> {
        let mut names: Vec<String> = match self {
            Self::Disk(path) => {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                entries
                    .filter(|e| !file::is_hidden(&e.path()) && e.path().is_dir())
                    .filter_map(|e| e.file_name().into_string().ok())
                    .collect()
            }
            Self::Memory { prefix, files, .. } => {
                let below = files
                    .iter()
                    .filter_map(|(name, _)| name.strip_prefix(prefix.as_str()));
                below
                    .filter_map(|name| name.split_once('/'))
                    .map(|(folder, _)| folder.to_owned())
                    .collect()
            }
        };
        names.sort();
        names.dedup();
        let found = names.iter().filter_map(|name| match self.find(name) {
            Some(Location::Folder(folder)) => Some(folder),
            _ => None,
        });
        found.collect()
    }
}

/// A file or a folder.
#[derive(Clone, Debug)]
pub enum Location {
    /// A file.
    File(Blob),
    /// A folder.
    Folder(Folder),
}

impl Location {
    /// The path on disk or the name in memory, for messages.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::File(blob) => blob.path().to_owned(),
            Self::Folder(folder) => folder.path(),
        }
    }
}

impl From<PathBuf> for Location {
    /// A folder where the path is one, a file otherwise, even one that is missing.
    fn from(path: PathBuf) -> Self {
        if path.is_dir() {
            Self::Folder(Folder::Disk(path))
        } else {
            Self::File(Blob::Disk(path))
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Self {
        location.clone()
    }
}

impl From<Blob> for Location {
    fn from(blob: Blob) -> Self {
        Self::File(blob)
    }
}

impl From<Folder> for Location {
    fn from(folder: Folder) -> Self {
        Self::Folder(folder)
    }
}
