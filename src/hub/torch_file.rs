//! PyTorch checkpoints (`.pth`, `.pt`, `.bin`) since version 1.6: a zip archive of one pickle and
//! one member per storage.
//!
//! Opening reads the pickle and checks every tensor against the archive; the numbers are read when
//! asked for. Format: `torch.save` since PyTorch 1.6,
//! <https://pytorch.org/docs/stable/notes/serialization.html>.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read},
    sync::{Mutex, PoisonError},
};

use candle_core::Tensor;
use crc32fast::Hasher;
use zip::{
    CompressionMethod, HasZipMetadata, ZipArchive,
    read::{ArchiveOffset, Config, ZipFile},
    result::ZipError,
};

use super::{
    blob::{self, Blob, BlobReader, OpenBlob},
    pickle::{MAX_PICKLE_BYTES, Tree, View},
    tensor_table::TensorTable,
    view,
};
use crate::{
    Error, LoadError, Result,
    nn::{OpenMatrix, TensorInfo, TensorSource},
};

/// Fills memory with the bytes of a storage that begin at some byte of it.
type ReadBytes<'a> = Box<dyn Fn(u64, &mut [u8]) -> Result<()> + Send + Sync + 'a>;

/// An open PyTorch checkpoint.
pub struct TorchFile {
    archive: Archive,
    tensors: TensorTable,
}

impl TorchFile {
    /// Opens a checkpoint and finds its tensors. A tensor without its numbers is reported when it is
    /// read, so that tensors which no network asks for do no harm.
    ///
    /// # Errors
    /// The archive is damaged, the pickle asks for more than tensors, or has none.
    pub fn open(blob: Blob) -> Result<Self> {
        let archive = Archive::open(blob)?;
        let pickle = archive.member("data.pkl", MAX_PICKLE_BYTES)?;
        let origin = archive.blob.path();
        let tensors = TensorTable::read(&Tree::read(&pickle, origin)?, origin)?;
        Ok(Self { archive, tensors })
    }

    fn view(&self, name: &str) -> Result<&View> {
        let check = |view: &View| self.archive.check_view(view);
        self.tensors.view(name, self, check)
    }

    /// The full names of the dictionaries in the file.
    pub(super) fn dictionaries(&self) -> &HashSet<String> {
        self.tensors.dictionaries()
    }
}

/// A zip archive as `torch.save` lays it out.
struct Archive {
    blob: Blob,
    file: OpenBlob,
    zip: ZipArchive<BlobReader>,
    /// The folder inside the archive that holds `data.pkl`, with its slash.
    folder: String,
}

impl Archive {
    fn open(blob: Blob) -> Result<Self> {
        // Archives of PyTorch begin with the file. Left to guess, the reader takes a file for one
        // with something in front if a header happens to lie where that would put it.
        let config = Config {
            archive_offset: ArchiveOffset::Known(0),
        };
        let zip = ZipArchive::with_config(config, blob.reader())
            .map_err(|error| damaged(&blob, &error))?;
        let mut archive = Self {
            folder: folder(&blob, &zip)?,
            file: blob.open()?,
            blob,
            zip,
        };
        archive.check()?;
        Ok(archive)
    }

    fn check(&mut self) -> Result<()> {
        self.check_sizes()?;
        if let Some(index) = self.index("byteorder")
            && self.read_member(index, 16)? != b"little"
        {
            return Err(Error::file(
                self.blob.path(),
                "written on a big-endian machine; little-endian was expected",
            ));
        }
        if self
            .zip
            .has_overlapping_files()
            .map_err(|error| damaged(&self.blob, &error))?
        {
            let message = "members of the archive overlap";
            return Err(LoadError::damaged(self.blob.path(), message).into());
        }
        Ok(())
    }

    /// No member may claim more bytes than the file can hold, so that sizes can be trusted when
    /// memory is reserved.
    fn check_sizes(&self) -> Result<()> {
        let size = self.blob.len()?;
        for index in 0..self.zip.len() {
            let entry = self
                .zip
                .by_index_data(index)
                .map_err(|error| damaged(&self.blob, &error))?;
            let about = entry.get_metadata();
            let most = match about.compression_method {
                CompressionMethod::Stored => about.compressed_size,
                // The most that deflate can compress
                _ => about.compressed_size.saturating_mul(1032),
            };
            if about.compressed_size > size || about.uncompressed_size > most {
                let message = format!(
                    "a member that claims {} bytes, in a file of {size}",
                    about.uncompressed_size
                );
                return Err(LoadError::damaged(self.blob.path(), message).into());
            }
        }
        Ok(())
    }

    fn index(&self, member: &str) -> Option<usize> {
        self.zip.index_for_name(&format!("{}{member}", self.folder))
    }

    fn member(&self, member: &str, most: u64) -> Result<Vec<u8>> {
        match self.index(member) {
            Some(index) => self.read_member(index, most),
            None => {
                let message = format!("the archive has no `{member}`");
                Err(LoadError::damaged(self.blob.path(), message).into())
            }
        }
    }

    /// All bytes of a member, checked against its checksum.
    fn read_member(&self, index: usize, most: u64) -> Result<Vec<u8>> {
        let mut zip = self.zip.clone();
        let mut member = zip
            .by_index(index)
            .map_err(|error| damaged(&self.blob, &error))?;
        if member.size() > most {
            let message = format!(
                "a member of {} bytes, expected at most {most}",
                member.size()
            );
            return Err(Error::file(self.blob.path(), message));
        }
        let mut bytes = Vec::new();
        if member.compression() == CompressionMethod::Stored {
            // At most the file's size, see `check_sizes`
            bytes.reserve_exact(member.size() as usize);
        }
        let size = member.size();
        Read::by_ref(&mut member)
            .take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(&self.blob, &error.into()))?;
        if bytes.len() as u64 != size {
            let message = format!("a member has {} bytes, expected {size}", bytes.len());
            return Err(LoadError::damaged(self.blob.path(), message).into());
        }
        Ok(bytes)
    }

    /// Checks that a tensor lies inside its storage, and the storage inside the archive; the error
    /// holds the expected and the found.
    fn check_view(&self, view: &View) -> Result<(), (String, String)> {
        let storage = &view.storage;
        let stored = self
            .index(&format!("data/{}", storage.key))
            .and_then(|i| self.zip.by_index_data(i).ok());
        let Some(stored) = stored.map(|member| member.get_metadata().uncompressed_size) else {
            return Err((
                format!("its data in `data/{}`", storage.key),
                "no such member in the archive".into(),
            ));
        };
        let width = storage.element.width;
        let needed = (storage.elements as u64).checked_mul(width as u64);
        if needed.is_none_or(|needed| needed > stored) {
            let elements = format!("{} elements of {width} bytes", storage.elements);
            return Err((elements, format!("a storage of {stored} bytes")));
        }
        view::check(view)
    }

    /// Writes the elements of a storage from `from` on into `bytes`. A storage that is read whole is
    /// checked against its checksum.
    fn read_storage(&self, view: &View, from: usize, bytes: &mut [u8]) -> Result<()> {
        // In bytes; `check_view` found them inside the file
        let from = (from * view.storage.element.width) as u64;
        match self.stored(view, bytes.len() as u64)? {
            Some(read) => blob::fill_in_parts(from, bytes, read),
            None => self.with_storage(view, |member| self.unpack(member, from, bytes)),
        }
    }

    /// Does something with the member of the archive that is the storage of a tensor.
    fn with_storage<T>(
        &self,
        view: &View,
        work: impl FnOnce(ZipFile<BlobReader>) -> Result<T>,
    ) -> Result<T> {
        let member = format!("data/{}", view.storage.key);
        let Some(index) = self.index(&member) else {
            return Err(Error::file(
                self.blob.path(),
                format!("the archive has no `{member}`"),
            ));
        };
        let mut zip = self.zip.clone();
        work(
            zip.by_index(index)
                .map_err(|error| damaged(&self.blob, &error))?,
        )
    }

    /// Reads parts of `length` bytes of a storage, from some byte of it on; `None` if it is compressed.
    /// If they are the whole storage, they are checked against its checksum.
    fn stored(&self, view: &View, length: u64) -> Result<Option<ReadBytes<'_>>> {
        let place = self.with_storage(view, |member| {
            let start = member.data_start();
            let stored = member.compression() == CompressionMethod::Stored;
            Ok(start
                .filter(|_| stored)
                .map(|start| (start, member.size(), member.crc32())))
        })?;
        let Some((start, size, expected)) = place else {
            return Ok(None);
        };
        let sum = (length == size).then(|| RunningChecksum::new(size, expected));
        self.file.will_need(start, size);
        Ok(Some(Box::new(move |from, bytes: &mut [u8]| {
            self.file.read(start + from, bytes)?;
            match &sum {
                Some(sum) if !sum.add(from, bytes) => Err(wrong_checksum(&self.blob)),
                _ => Ok(()),
            }
        })))
    }

    /// Unpacks a compressed member; what comes before `from` is not kept.
    fn unpack(&self, mut member: impl Read, from: u64, bytes: &mut [u8]) -> Result<()> {
        let mut before = Read::by_ref(&mut member).take(from);
        io::copy(&mut before, &mut io::sink())
            .and_then(|_| member.read_exact(bytes))
            // The checksum is compared at the end
            .and_then(|()| io::copy(&mut member, &mut io::sink()))
            .map_err(|error| damaged(&self.blob, &error.into()))?;
        Ok(())
    }
}

impl TensorSource for TorchFile {
    fn origin(&self) -> String {
        self.archive.blob.path().display().to_string()
    }

    /// The folder inside the archive.
    fn saved_as(&self) -> Option<&str> {
        Some(self.archive.folder.trim_end_matches('/'))
    }

    fn names(&self) -> Vec<String> {
        self.tensors.names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors.info(name)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let view = self.view(name)?;
        view::tensor(view, |from, _, bytes| {
            self.archive.read_storage(view, from, bytes)
        })
    }

    fn open_matrix(&self, name: &str) -> Result<OpenMatrix<'_>> {
        let view = self.view(name)?;
        let elements: usize = view.shape.iter().product();
        let length = (elements * view.storage.element.width) as u64;
        let parts = match self.archive.stored(view, length)? {
            Some(read) => view::parts(view, read),
            None => None,
        };
        OpenMatrix::in_parts_or_whole(parts, || self.load(name))
    }
}

/// The CRC-32 of bytes that are read in parts, in any order.
struct RunningChecksum {
    size: u64,
    expected: u32,
    /// How many bytes were read, and the parts by their first byte.
    read: Mutex<(u64, BTreeMap<u64, Hasher>)>,
}

impl RunningChecksum {
    /// For `size` bytes whose checksum should be `expected`.
    fn new(size: u64, expected: u32) -> Self {
        Self {
            size,
            expected,
            read: Mutex::default(),
        }
    }

    /// Adds the part that begins at byte `from`. Returns false if it is the last one and the checksum is
    /// another one.
    fn add(&self, from: u64, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let mut sum = Hasher::new();
        sum.update(bytes);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, parts) = &mut *read;
        *count += bytes.len() as u64;
        parts.insert(from, sum);
        if *count < self.size {
            return true;
        }
        let mut whole = Hasher::new();
        parts.values().for_each(|part| whole.combine(part));
        whole.finalize() == self.expected
    }
}

fn wrong_checksum(blob: &Blob) -> Error {
    let checksum = io::Error::new(io::ErrorKind::InvalidData, "Invalid checksum");
    damaged(blob, &checksum.into())
}

/// The folder inside the archive that holds `data.pkl`, with its slash.
fn folder(blob: &Blob, zip: &ZipArchive<BlobReader>) -> Result<String> {
    let mut names = zip.file_names().filter_map(|name| name.ok());
    let found = names.find_map(|name| match name.strip_suffix("data.pkl") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => Some(folder.to_owned()),
        _ => None,
    });
    found.ok_or_else(|| {
        Error::file(
            blob.path(),
            "a zip archive without `data.pkl`: not a PyTorch checkpoint",
        )
        .with_hint("if this is a packed download, unpack it and name the checkpoint inside")
    })
}

fn damaged(blob: &Blob, error: &ZipError) -> Error {
    if let ZipError::Io(cause) = error
        && matches!(
            cause.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        )
    {
        return Error::io(blob.path())(io::Error::new(cause.kind(), cause.to_string()));
    }
    LoadError::damaged(blob.path(), format!("not a whole PyTorch archive: {error}")).into()
}
