//! PyTorch checkpoints of the time before version 1.6, and of
//! `_use_new_zipfile_serialization=False`: five pickles one after the other, then the storages.
//!
//! The pickles are a magic number, the version of the format, facts on the machine, what was saved,
//! and the keys of the storages in the order in which they follow; each storage is its number of
//! elements in 8 bytes and its bytes. Reference: pytorch, `torch/serialization.py`, `_legacy_save`.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use candle_core::Tensor;

use super::{
    blob::{Blob, OpenBlob},
    pickle::{MAX_PICKLE_BYTES, Storage, Tree, Value, View},
    tensor_table::TensorTable,
    view,
};
use crate::{
    LoadError, Result,
    nn::{OpenMatrix, TensorInfo, TensorSource},
};

/// The number that the first pickle of such a file holds, as protocols 2 to 5 and as protocols 0
/// and 1 write it.
const MAGIC: [&[u8]; 2] = [
    b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
    b"L119547037146038801333356L\n",
];

/// Returns whether a file that begins with these bytes is a checkpoint of the old kind.
pub(super) fn begins_with_magic(start: &[u8]) -> bool {
    // The number of the protocol and the length of a frame may stand before it.
    const LONGEST: usize = 11;
    let begins = |at| MAGIC.iter().any(|magic| start[at..].starts_with(magic));
    (0..=LONGEST.min(start.len())).any(begins)
}

/// The only version of the format that was ever written.
const VERSION: i64 = 1001;

/// An open PyTorch checkpoint of the old kind.
pub struct LegacyTorchFile {
    file: OpenBlob,
    tensors: TensorTable,
    /// The byte offset of each storage's elements.
    starts: HashMap<Arc<str>, u64>,
}

/// The pickles at the start of a file, one after the other.
struct Pickles<'a> {
    bytes: &'a [u8],
    at: usize,
    origin: &'a Path,
}

impl Pickles<'_> {
    fn next(&mut self) -> Result<Tree> {
        let (tree, length) = Tree::read_first(&self.bytes[self.at..], self.origin)?;
        self.at += length;
        Ok(tree)
    }

    fn fail<T>(&self, message: String) -> Result<T> {
        Err(LoadError::damaged(self.origin, message).into())
    }

    /// Version and byte order.
    fn check_header(&mut self) -> Result<()> {
        match self.next()?.root() {
            Value::Int(VERSION) => {}
            other => {
                return self.fail(format!(
                    "expected version {VERSION} of the format, found {other:?}"
                ));
            }
        }
        let machine = self.next()?;
        match machine.entry(machine.root(), "little_endian") {
            Some(Value::Bool(true)) => Ok(()),
            _ => self.fail("expected a file of a little-endian machine, found big-endian".into()),
        }
    }

    /// The keys of the storages.
    fn keys(&mut self) -> Result<Vec<Arc<str>>> {
        let tree = self.next()?;
        let items = tree.items(tree.root()).unwrap_or_default();
        let keys = items.iter().map(|item| match item {
            Value::Str(key) => Some(key.clone()),
            _ => None,
        });
        match keys.collect::<Option<Vec<_>>>() {
            Some(keys) if !keys.is_empty() => Ok(keys),
            _ => self.fail("expected a list of storages after the saved object".into()),
        }
    }
}

impl LegacyTorchFile {
    /// Opens a checkpoint and finds its tensors, as [`super::TorchFile::open`] does.
    ///
    /// # Errors
    /// The file is damaged, or a pickle asks for more than tensors or has none.
    pub fn open(blob: Blob) -> Result<Self> {
        let start = blob.start(MAX_PICKLE_BYTES)?;
        let origin = blob.path().to_owned();
        let mut pickles = Pickles {
            bytes: &start,
            at: 0,
            origin: &origin,
        };
        pickles.next()?; // the magic number
        pickles.check_header()?;
        let tree = pickles.next()?;
        let order = pickles.keys()?;
        let starts = starts(&blob, pickles.at as u64, &order, &tree)?;
        let tensors = TensorTable::read(&tree, &origin)?;
        Ok(Self {
            file: blob.open()?,
            tensors,
            starts,
        })
    }

    fn view(&self, name: &str) -> Result<&View> {
        let check = |view: &View| self.check_view(view);
        self.tensors.view(name, self, check)
    }

    /// Writes the elements of a storage from `from` on into `bytes`.
    fn read_storage(&self, view: &View, from: usize, bytes: &mut [u8]) -> Result<()> {
        let storage = &view.storage;
        let offset = self.starts[&storage.key] + (from * storage.element.width) as u64;
        self.file.fill(offset, bytes)
    }

    /// The full names of the dictionaries in the file.
    pub(super) fn dictionaries(&self) -> &HashSet<String> {
        self.tensors.dictionaries()
    }

    /// Checks that the file has the numbers of a tensor; the error holds the expected and the
    /// found.
    fn check_view(&self, view: &View) -> Result<(), (String, String)> {
        let key = &view.storage.key;
        if !self.starts.contains_key(key) {
            return Err((
                format!("its data in storage `{key}`"),
                "no such storage in the file".into(),
            ));
        }
        view::check(view)
    }
}

/// The offset of each storage: they follow each other from `at` on.
fn starts(
    blob: &Blob,
    mut at: u64,
    order: &[Arc<str>],
    tree: &Tree,
) -> Result<HashMap<Arc<str>, u64>> {
    let fail = |message: String| Err(LoadError::damaged(blob.path(), message).into());
    let mut known: HashMap<&str, &Storage> = HashMap::new();
    for storage in tree.storages() {
        let first = known.entry(&storage.key).or_insert(storage);
        if *first != storage {
            return fail(format!(
                "storage `{}` is declared with two different types or sizes",
                storage.key
            ));
        }
    }
    let size = blob.len()?;
    let mut starts = HashMap::new();
    for key in order {
        let Some(storage) = known.get(&**key) else {
            return fail(format!("storage `{key}` belongs to no tensor"));
        };
        let count = blob
            .read_at(at, 8)?
            .try_into()
            .map_or(-1, i64::from_le_bytes);
        if usize::try_from(count) != Ok(storage.elements) {
            return fail(format!(
                "storage `{key}` has {count} elements, expected {}",
                storage.elements
            ));
        }
        let end = (storage.elements as u64)
            .checked_mul(storage.element.width as u64)
            .and_then(|bytes| bytes.checked_add(at + 8));
        match end {
            Some(end) if end <= size => {
                starts.insert(key.clone(), at + 8);
                at = end;
            }
            _ => {
                return fail(format!("storage `{key}` extends past the end of the file"));
            }
        }
    }
    Ok(starts)
}

impl TensorSource for LegacyTorchFile {
    fn origin(&self) -> String {
        self.file.path().display().to_string()
    }

    fn names(&self) -> Vec<String> {
        self.tensors.names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors.info(name)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let view = self.view(name)?;
        view::tensor(view, |from, _, bytes| self.read_storage(view, from, bytes))
    }

    fn open_matrix(&self, name: &str) -> Result<OpenMatrix<'_>> {
        let view = self.view(name)?;
        let start = self.starts[&view.storage.key];
        let storage = &view.storage;
        let length = storage.elements * storage.element.width;
        self.file.will_need(start, length as u64);
        let read = move |from, bytes: &mut [u8]| self.file.read(start + from, bytes);
        OpenMatrix::in_parts_or_whole(view::parts(view, read), || self.load(name))
    }
}
