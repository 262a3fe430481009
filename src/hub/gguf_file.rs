//! GGUF files: a header with settings, names, types, shapes and places, then the numbers.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Tensors in f64, f32, f16, bf16,
//! i64, i32, i16 and all quantised types of the tensor library can be read; quantised ones are read as f32, which
//! a network kept in 8 bits turns back into the same integers of `q8_0`. Files of T5 encoders
//! that llama.cpp wrote have names of its own, which become those of the original.

use std::{
    collections::HashMap,
    io::{self, BufReader, Read, Seek, SeekFrom},
};

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
};

use super::{
    blob::{Blob, BlobReader, OpenBlob},
    numbers,
};
use crate::{
    Error, LoadError, Result,
    nn::{OpenMatrix, Q8Block, StoredType, TensorInfo, TensorSource},
};

/// The bytes that every file begins with.
pub(super) const MAGIC: &[u8] = b"GGUF";

/// Bytes that the longest name may have; the format allows 64.
pub(super) const LONGEST_NAME: usize = 512;

/// Axes of a tensor, at most, as in the format.
pub(super) const MOST_AXES: usize = 4;

/// The alignment of tensors unless the settings say otherwise.
pub(super) const ALIGNMENT: u64 = 32;

/// The setting that gives the alignment.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";

/// How the numbers of a tensor are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As numbers of this type.
    Plain(DType),
    /// In blocks of `q8_0`.
    Q8,
    /// In blocks of another quantised type.
    Quantised(GgmlDType),
}

/// The kinds that can be read, with their numbers in files.
const KINDS: [(u32, Kind); 17] = [
    (0, Kind::Plain(DType::F32)),
    (1, Kind::Plain(DType::F16)),
    (2, Kind::Quantised(GgmlDType::Q4_0)),
    (3, Kind::Quantised(GgmlDType::Q4_1)),
    (6, Kind::Quantised(GgmlDType::Q5_0)),
    (7, Kind::Quantised(GgmlDType::Q5_1)),
    (8, Kind::Q8),
    (10, Kind::Quantised(GgmlDType::Q2K)),
    (11, Kind::Quantised(GgmlDType::Q3K)),
    (12, Kind::Quantised(GgmlDType::Q4K)),
    (13, Kind::Quantised(GgmlDType::Q5K)),
    (14, Kind::Quantised(GgmlDType::Q6K)),
    (25, Kind::Plain(DType::I16)),
    (26, Kind::Plain(DType::I32)),
    (27, Kind::Plain(DType::I64)),
    (28, Kind::Plain(DType::F64)),
    (30, Kind::Plain(DType::BF16)),
];

impl Kind {
    /// The kind with this number in files; otherwise its name for messages.
    fn from_number(number: u32) -> Result<Self, String> {
        let found = KINDS.iter().find(|(other, _)| *other == number);
        found
            .map(|(_, kind)| *kind)
            .ok_or_else(|| format!("GGUF type {number}"))
    }

    /// Its number in files.
    pub(super) fn number(self) -> Option<u32> {
        let found = KINDS.iter().find(|(_, kind)| *kind == self);
        found.map(|(number, _)| *number)
    }

    /// Bytes of this many values, which are whole blocks; `None` where that overflows.
    pub(super) fn bytes(self, values: u64) -> Option<u64> {
        let (of_block, bytes) = self.block();
        (values / of_block).checked_mul(bytes)
    }

    /// Numbers of a block, and its bytes.
    fn block(self) -> (u64, u64) {
        let (values, bytes) = match self {
            Self::Plain(dtype) => (1, dtype.size_in_bytes()),
            Self::Q8 => (Q8Block::VALUES, Q8Block::BYTES),
            Self::Quantised(kind) => (kind.block_size(), kind.type_size()),
        };
        (values as u64, bytes as u64)
    }

    /// The type that the tensor has once it is read.
    fn read_as(self) -> DType {
        match self {
            Self::Plain(dtype) => dtype,
            Self::Q8 | Self::Quantised(_) => DType::F32,
        }
    }
}

/// An open GGUF file.
pub struct GgufFile {
    file: OpenBlob,
    names: Vec<String>,
    tensors: HashMap<String, Entry>,
}

struct Entry {
    shape: Vec<usize>,
    /// Otherwise why it cannot be read, such as its type.
    kind: Result<Kind, String>,
    /// First byte in the file.
    start: u64,
    bytes: u64,
}

impl GgufFile {
    /// Opens a file: reads the header and checks it against the file's size.
    ///
    /// # Errors
    /// The header is damaged or of an unknown version, a name is duplicated, or a tensor ends
    /// beyond the file. Tensors that the format does not allow are errors only where they are read.
    pub fn open(blob: Blob) -> Result<Self> {
        let size = blob.len()?;
        let header = Header::read(&blob, size)
            .map_err(|message| Error::from(LoadError::damaged(blob.path(), message)))?;
        let mut names = vec![];
        let mut tensors = HashMap::new();
        for described in header.tensors {
            let name = original_name(&described.name);
            let entry = described
                .entry(&header.data, size)
                .map_err(|(expected, found)| {
                    Error::from(LoadError::Tensor {
                        origin: blob.path().display().to_string(),
                        tensor: name.clone(),
                        expected,
                        found,
                    })
                })?;
            if tensors.insert(name.clone(), entry).is_some() {
                let message = format!("tensor `{}` is duplicated", name.escape_debug());
                return Err(LoadError::damaged(blob.path(), message).into());
            }
            names.push(name);
        }
        Ok(Self {
            file: blob.open()?,
            names,
            tensors,
        })
    }
}

impl TensorSource for GgufFile {
    fn origin(&self) -> String {
        self.file.path().display().to_string()
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors.get(name).map(|entry| TensorInfo {
            shape: entry.shape.clone(),
            element: match &entry.kind {
                Ok(kind) => StoredType::Readable(kind.read_as()),
                Err(reason) => StoredType::Unreadable(reason.clone()),
            },
        })
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let (entry, kind) = self.readable(name)?;
        let shape = entry.shape.as_slice();
        Ok(match kind {
            Kind::Plain(dtype) => {
                numbers::tensor(dtype, shape, |bytes| self.file.fill(entry.start, bytes))?
            }
            Kind::Q8 => {
                let mut values = vec![0.0; shape.iter().product()];
                Q8Block::write_values(&self.blocks(entry)?, &mut values);
                Tensor::from_vec(values, shape, &Device::Cpu)?
            }
            Kind::Quantised(kind) => {
                qtensor_from_ggml(kind, &self.blocks(entry)?, shape.to_vec(), &Device::Cpu)?
                    .dequantize(&Device::Cpu)?
            }
        })
    }

    fn open_matrix(&self, name: &str) -> Result<OpenMatrix<'_>> {
        let (entry, kind) = self.readable(name)?;
        self.file.will_need(entry.start, entry.bytes);
        let read = |from, bytes: &mut [u8]| self.file.read(entry.start + from, bytes);
        let parts = match kind {
            Kind::Q8 => {
                let blocks = move |first, part: &mut [u8]| read(first as u64, part);
                return Ok(OpenMatrix::Q8_0(Box::new(blocks)));
            }
            Kind::Plain(dtype) => numbers::parts(dtype, read),
            Kind::Quantised(_) => None,
        };
        OpenMatrix::in_parts_or_whole(parts, || self.load(name))
    }
}

impl GgufFile {
    /// A tensor and its kind, which must be one that can be read.
    fn readable(&self, name: &str) -> Result<(&Entry, Kind)> {
        let entry = self.tensors.get(name);
        let entry = entry.ok_or_else(|| super::absent(self, name))?;
        match &entry.kind {
            Ok(kind) => Ok((entry, *kind)),
            Err(reason) => Err(super::unreadable(self, name, reason)),
        }
    }

    /// The blocks of a tensor.
    fn blocks(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut bytes = vec![0; entry.bytes as usize];
        self.file.fill(entry.start, &mut bytes)?;
        Ok(bytes)
    }
}

/// The name that a tensor of a T5 encoder has outside llama.cpp (its `tensor_mapping.py`); other
/// names stay.
fn original_name(name: &str) -> String {
    const PARTS: [(&str, &str); 10] = [
        ("attn_q", "layer.0.SelfAttention.q"),
        ("attn_k", "layer.0.SelfAttention.k"),
        ("attn_v", "layer.0.SelfAttention.v"),
        ("attn_o", "layer.0.SelfAttention.o"),
        (
            "attn_rel_b",
            "layer.0.SelfAttention.relative_attention_bias",
        ),
        ("attn_norm", "layer.0.layer_norm"),
        ("ffn_gate", "layer.1.DenseReluDense.wi_0"),
        ("ffn_up", "layer.1.DenseReluDense.wi_1"),
        ("ffn_down", "layer.1.DenseReluDense.wo"),
        ("ffn_norm", "layer.1.layer_norm"),
    ];
    match name {
        "token_embd.weight" => return "shared.weight".to_owned(),
        "enc.output_norm.weight" => return "encoder.final_layer_norm.weight".to_owned(),
        _ => {}
    }
    let renamed = || {
        let rest = name.strip_prefix("enc.blk.")?.strip_suffix(".weight")?;
        let (block, part) = rest.split_once('.')?;
        let (_, original) = PARTS.iter().find(|(short, _)| *short == part)?;
        Some(format!("encoder.block.{block}.{original}.weight"))
    };
    renamed().unwrap_or_else(|| name.to_owned())
}

/// What the header says.
struct Header {
    tensors: Vec<Described>,
    data: Data,
}

/// The numbers of all tensors.
struct Data {
    /// Their first byte in the file.
    start: u64,
    alignment: u64,
}

/// A tensor as the header describes it.
struct Described {
    name: String,
    shape: Vec<u64>,
    /// Otherwise why it cannot be read.
    kind: Result<Kind, String>,
    offset: u64,
}

impl Described {
    /// The tensor in a file of `size` bytes; the error holds the expected and the found.
    fn entry(self, data: &Data, size: u64) -> Result<Entry, (String, String)> {
        let shape: Vec<usize> = self.shape.iter().map(|size| *size as usize).collect();
        let start = data.start.checked_add(self.offset);
        let Some(start) = start.filter(|start| *start <= size) else {
            let found = format!(
                "the offset {} behind byte {}, where the numbers begin with an alignment of {}",
                self.offset, data.start, data.alignment
            );
            return Err((format!("to begin within {size} bytes"), found));
        };
        let bytes = match &self.kind {
            Err(_) => 0,
            Ok(kind) => {
                let (values, _) = kind.block();
                let last = self.shape.last().copied().unwrap_or(1);
                if !last.is_multiple_of(values) {
                    let expected = format!("rows of a multiple of {values} values");
                    return Err((expected, format!("the shape {shape:?}")));
                }
                let count = self
                    .shape
                    .iter()
                    .try_fold(1u64, |count, size| count.checked_mul(*size));
                let bytes = count.and_then(|count| kind.bytes(count));
                let within = bytes.filter(|bytes| *bytes <= size - start);
                within.ok_or_else(|| {
                    let found = format!("the shape {shape:?} from byte {start} on");
                    (format!("an end within {size} bytes"), found)
                })?
            }
        };
        Ok(Entry {
            shape,
            kind: self.kind,
            start,
            bytes,
        })
    }
}

/// Reads little-endian values and knows how far it is.
struct Reader {
    inner: BufReader<BlobReader>,
    position: u64,
    size: u64,
}

/// The message for a header that ends too early.
fn cut_short(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the GGUF header is cut short".to_owned(),
        _ => format!("the GGUF header cannot be read: {error}"),
    }
}

impl Reader {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(cut_short)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// The length of what follows, of which each takes at least `each` bytes.
    fn count(&mut self, each: u64, what: &str) -> Result<u64, String> {
        let count = self.u64()?;
        let needed = count.checked_mul(each);
        match needed {
            Some(needed) if needed <= self.size - self.position.min(self.size) => Ok(count),
            _ => Err(format!(
                "the GGUF header announces {count} {what}, more than the file has"
            )),
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        let end = self.position.checked_add(bytes);
        match end {
            Some(end) if end <= self.size => {
                self.inner.seek(SeekFrom::Start(end)).map_err(cut_short)?;
                self.position = end;
                Ok(())
            }
            _ => Err("the GGUF header is cut short".to_owned()),
        }
    }

    /// A name of a setting or of a tensor; `None` if it is longer than any that is asked for.
    fn name(&mut self) -> Result<Option<String>, String> {
        let length = self.count(1, "bytes of a name")?;
        if length > LONGEST_NAME as u64 {
            self.skip(length)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.inner.read_exact(&mut bytes).map_err(cut_short)?;
        self.position += length;
        match String::from_utf8(bytes) {
            Ok(name) => Ok(Some(name)),
            Err(_) => Err("a name in the GGUF header is not UTF-8".to_owned()),
        }
    }

    /// A tensor; `None` if its name is longer than any that is asked for.
    fn tensor(&mut self) -> Result<Option<Described>, String> {
        let name = self.name()?;
        let axes = self.u32()?;
        let is_allowed = axes as usize <= MOST_AXES;
        let mut shape = vec![];
        match is_allowed {
            true => {
                for _ in 0..axes {
                    shape.push(self.u64()?);
                }
            }
            false => self.skip(u64::from(axes) * size_of::<u64>() as u64)?,
        }
        shape.reverse(); // the fastest axis comes first in the file
        let number = self.u32()?;
        let kind = match is_allowed {
            true => Kind::from_number(number),
            false => Err(format!("a tensor of {axes} axes")),
        };
        let offset = self.u64()?;
        Ok(name.map(|name| Described {
            name,
            shape,
            kind,
            offset,
        }))
    }

    /// Skips the value of a setting. Returns it if it is an integer of 32 bits.
    fn value(&mut self, kind: u32) -> Result<Option<u32>, String> {
        const TEXT: u32 = 8;
        const LIST: u32 = 9;
        match kind {
            4 => return self.u32().map(Some),
            TEXT => {
                let length = self.count(1, "bytes of a text")?;
                self.skip(length)?;
            }
            LIST => {
                let each = self.u32()?;
                if each == TEXT {
                    for _ in 0..self.count(8, "texts of a list")? {
                        let length = self.count(1, "bytes of a text")?;
                        self.skip(length)?;
                    }
                } else {
                    let bytes = value_bytes(each)?;
                    let count = self.count(bytes, "values of a list")?;
                    self.skip(count * bytes)?;
                }
            }
            other => self.skip(value_bytes(other)?)?,
        }
        Ok(None)
    }
}

/// Bytes of a number of a type of settings.
fn value_bytes(kind: u32) -> Result<u64, String> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(format!(
            "a setting of the unknown type {kind} in the GGUF header"
        )),
    }
}

impl Header {
    fn read(blob: &Blob, size: u64) -> Result<Self, String> {
        let mut reader = Reader {
            inner: BufReader::new(blob.reader()),
            position: 0,
            size,
        };
        if reader.bytes::<4>()? != MAGIC {
            return Err("a GGUF file begins with `GGUF`".to_owned());
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(format!("expected version 2 or 3 of GGUF, found {version}"));
        }
        // A name, axes, a type and an offset; a name, a type and a value.
        let count = reader.count(24, "tensors")?;
        let settings = reader.count(13, "settings")?;
        let mut alignment = ALIGNMENT;
        for _ in 0..settings {
            let name = reader.name()?;
            let kind = reader.u32()?;
            let value = reader.value(kind)?;
            if name.as_deref() == Some(ALIGNMENT_KEY) {
                alignment = value.map_or(0, u64::from);
            }
        }
        if !alignment.is_power_of_two() {
            return Err(format!(
                "`{ALIGNMENT_KEY}` must be a power of two in the GGUF header"
            ));
        }
        let mut tensors = vec![];
        for _ in 0..count {
            tensors.extend(reader.tensor()?);
        }
        Ok(Self {
            tensors,
            data: Data {
                start: reader.position.next_multiple_of(alignment),
                alignment,
            },
        })
    }
}
