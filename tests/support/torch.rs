//! Writes small PyTorch files byte by byte, right and wrong ones.

use std::{
    hash::{DefaultHasher, Hasher},
    io::{Cursor, Write},
    path::Path,
    sync::Arc,
};

use ttsvar::{
    Error, Result,
    hub::{self, Blob},
    nn::TensorSource,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// A pickle under construction, protocol 2. Opcodes as in Python's `pickletools`.
#[derive(Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X")
            .raw(&(text.len() as u32).to_le_bytes())
            .raw(text.as_bytes())
    }

    pub fn int(self, number: i64) -> Self {
        self.raw(&[0x8a, 8]).raw(&number.to_le_bytes())
    }

    pub fn ints(self, numbers: &[i64]) -> Self {
        numbers
            .iter()
            .fold(self.raw(b"("), |pickle, number| pickle.int(*number))
            .raw(b"t")
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn tensor(self, t: &Tensor) -> Self {
        let begun = self.storage(t);
        begun.raw(b"tQ").view(t)
    }

    /// The same as PyTorch wrote it before 1.6: with a sixth part of the storage, `None` or a view
    /// of another one.
    pub fn old_tensor(self, t: &Tensor, sixth: &[u8]) -> Self {
        self.storage(t).raw(sixth).raw(b"tQ").view(t)
    }

    fn storage(self, t: &Tensor) -> Self {
        let storage = self
            .global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage");
        storage
            .global("torch", t.storage)
            .text(t.key)
            .text("cpu")
            .int(t.elements)
    }

    fn view(self, t: &Tensor) -> Self {
        let hooks = self.int(t.offset).ints(t.shape).ints(t.stride).raw(b"\x89");
        hooks.global("collections", "OrderedDict").raw(b")RtR")
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// What `_rebuild_tensor_v2` is given.
#[derive(Clone)]
pub struct Tensor<'a> {
    pub storage: &'a str,
    pub key: &'a str,
    pub elements: i64,
    pub offset: i64,
    pub shape: &'a [i64],
    pub stride: &'a [i64],
}

/// 2x3 floats, row by row, all of member `data/0`.
pub const PLAIN: Tensor = Tensor {
    storage: "FloatStorage",
    key: "0",
    elements: 6,
    offset: 0,
    shape: &[2, 3],
    stride: &[3, 1],
};

/// `{"a": tensor, "b": ...}` as an OrderedDict with a `_metadata` that BUILD sets.
pub fn state_dict(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    named(Pickle::new(), tensors).end()
}

/// The same inside a longer pickle.
pub fn named(pickle: Pickle, tensors: &[(&str, Tensor)]) -> Pickle {
    let start = pickle.global("collections", "OrderedDict").raw(b")R(");
    let filled = tensors
        .iter()
        .fold(start, |pickle, (name, tensor)| {
            pickle.text(name).tensor(tensor)
        })
        .raw(b"u");
    filled
        .raw(b"}")
        .text("_metadata")
        .global("collections", "OrderedDict")
        .raw(b")Rsb")
}

/// Six floats 0 to 5.
pub fn six() -> Vec<u8> {
    (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

/// An archive as `torch.save` lays it out.
pub fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    archive_with(CompressionMethod::Stored, pickle, storages)
}

pub fn archive_with(
    method: CompressionMethod,
    pickle: &[u8],
    storages: &[(&str, &[u8])],
) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    let mut add = |name: String, bytes: &[u8]| {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("archive/data.pkl".into(), pickle);
    add("archive/byteorder".into(), b"little");
    storages
        .iter()
        .for_each(|(key, bytes)| add(format!("archive/data/{key}"), bytes));
    add("archive/version".into(), b"3\n");
    zip.finish().unwrap().into_inner()
}

/// A file of one tensor over six floats.
pub fn single_tensor_file(tensor: Tensor) -> Vec<u8> {
    let file = archive(&state_dict(&[("layer.weight", tensor)]), &[("0", &six())]);
    keep_as_seed(&file);
    file
}

/// Writes a file into the folder `TTSVAR_SEEDS` if that is set, under a name made of its content:
/// `fuzz/seeds.py` collects the files of these tests.
fn keep_as_seed(bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("TTSVAR_SEEDS") {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let path = Path::new(&folder).join(format!("{:016x}", hasher.finish()));
        std::fs::write(path, bytes).unwrap();
    }
}

/// A file as `torch.save` laid it out before 1.6: the header, a pickle, the keys and the storages.
pub fn old_file(pickle: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let magic = Pickle::new()
        .raw(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
        .end();
    let machine = Pickle::new()
        .raw(b"}(")
        .text("protocol_version")
        .int(1001)
        .text("little_endian")
        .raw(b"\x88u")
        .end();
    let keys = storages
        .iter()
        .fold(Pickle::new().raw(b"]("), |pickle, (key, ..)| {
            pickle.text(key)
        })
        .raw(b"e")
        .end();
    let mut file = [
        magic,
        Pickle::new().int(1001).end(),
        machine,
        pickle.to_vec(),
        keys,
    ]
    .concat();
    for (_, count, bytes) in storages {
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(bytes);
    }
    keep_as_seed(&file);
    file
}

/// A file in memory.
pub fn memory(bytes: Vec<u8>) -> Blob {
    Blob::Memory {
        name: "file.pth".into(),
        bytes: bytes.leak(),
    }
}

/// Opens a file and loads all of it.
pub fn read(bytes: Vec<u8>, keys: &[&str]) -> Result<Arc<dyn TensorSource>> {
    let source = hub::open(memory(bytes), keys)?;
    for name in source.names() {
        source.load(&name)?;
    }
    Ok(source)
}

/// The file is refused with one line that has these parts.
#[track_caller]
pub fn refused(bytes: Vec<u8>, parts: &[&str]) -> Error {
    keep_as_seed(&bytes);
    let error = read(bytes, &[]).err().expect("an error");
    let message = error.to_string();
    println!(
        "{message}\n  hint: {}",
        error.hint().as_deref().unwrap_or("-")
    );
    assert!(
        !message.contains('\n') && message.starts_with("file.pth: "),
        "{message}"
    );
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    error
}
