//! safetensors files: a JSON header with names, types, shapes and byte ranges, then the numbers.
//!
//! Format and its limits: <https://github.com/huggingface/safetensors#format>.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use candle_core::{DType, Tensor};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    blob::{Blob, OpenBlob},
    numbers,
};
use crate::{
    Error, LoadError, Result,
    nn::{OpenMatrix, StoredType, TensorInfo, TensorSource},
};

/// Largest header, as in the format's own reader.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The key of what is not a tensor.
const METADATA: &str = "__metadata__";

/// Axes of a tensor at most; the layers of this crate have at most 5.
const MOST_AXES: usize = 64;

/// An open safetensors file.
pub struct SafetensorsFile {
    file: OpenBlob,
    names: Vec<String>,
    tensors: HashMap<String, Entry>,
}

struct Entry {
    info: TensorInfo,
    /// First byte in the file.
    start: u64,
}

impl Entry {
    /// The bytes `from..to` behind byte `data` of the file. Also returns their range.
    fn new(shape: Vec<usize>, element: StoredType, data: u64, from: u64, to: u64) -> (Self, Range) {
        let entry = Self {
            info: TensorInfo { shape, element },
            start: data + from,
        };
        (entry, (from, to))
    }
}

#[derive(Deserialize)]
struct Described {
    dtype: String,
    #[serde(deserialize_with = "shape")]
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// Reads the sizes of axes, not too many of them.
fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    struct Sizes;

    impl<'de> Visitor<'de> for Sizes {
        type Value = Vec<usize>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "the sizes of at most {MOST_AXES} axes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut sizes = vec![];
            while let Some(size) = list.next_element()? {
                if sizes.len() == MOST_AXES {
                    return Err(A::Error::invalid_length(MOST_AXES + 1, &self));
                }
                sizes.push(size);
            }
            Ok(sizes)
        }
    }

    deserializer.deserialize_seq(Sizes)
}

/// A header: what it says of each name, in order and not read yet. As values of JSON, it would take
/// thirty times its size.
struct Header<'h>(Vec<(String, &'h RawValue)>);

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with the names of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = vec![];
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Header(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

impl SafetensorsFile {
    /// Opens a file: reads the header and checks it against the file's size.
    ///
    /// # Errors
    /// The header is damaged or too long, or the ranges of the tensors overlap, leave holes, or end
    /// beyond the file.
    pub fn open(blob: Blob) -> Result<Self> {
        let wrong = |message: String| Error::from(LoadError::damaged(blob.path(), message));
        let size = blob.len()?;
        let bytes = header_bytes(&blob, size)?;
        let length = bytes.len() as u64;
        let Header(header) = parse(&blob, &bytes)?;
        let mut ranges = Vec::with_capacity(header.len());
        let mut tensors = HashMap::with_capacity(header.len());
        for (name, about) in header {
            if name == METADATA {
                continue;
            }
            let (entry, range) = entry(&name, about, length + 8, &blob)?;
            ranges.push((range, name.clone()));
            if tensors.insert(name.clone(), entry).is_some() {
                return Err(wrong(format!(
                    "tensor `{}` is duplicated",
                    name.escape_debug()
                )));
            }
        }
        ranges.sort();
        check_ranges(&ranges, size - 8 - length).map_err(wrong)?;
        Ok(Self {
            names: ranges.into_iter().map(|(_, name)| name).collect(),
            file: blob.open()?,
            tensors,
        })
    }
}

/// The texts beside the tensors of a safetensors file, by name; empty if there are none.
///
/// # Errors
/// The header is damaged or too long.
pub fn safetensors_metadata(blob: &Blob) -> Result<BTreeMap<String, String>> {
    let bytes = header_bytes(blob, blob.len()?)?;
    let Header(header) = parse(blob, &bytes)?;
    let Some((_, metadata)) = header.into_iter().find(|(name, _)| name == METADATA) else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(metadata.get()).map_err(|error| {
        let message = format!("`{METADATA}` is not a list of texts: {error}");
        Error::from(LoadError::damaged(blob.path(), message))
    })
}

/// The header of a file of `size` bytes.
fn header_bytes(blob: &Blob, size: u64) -> Result<Vec<u8>> {
    let wrong = |message: String| Error::from(LoadError::damaged(blob.path(), message));
    let length = match blob.start(8)?.try_into() {
        Ok(bytes) => u64::from_le_bytes(bytes),
        Err(_) => {
            return Err(wrong(format!(
                "a safetensors file has at least 8 bytes, this one {size}"
            )));
        }
    };
    if length > MAX_HEADER_BYTES || length + 8 > size {
        return Err(wrong(format!(
            "a safetensors header of {length} bytes in a file of {size} bytes"
        )));
    }
    blob.read_at(8, length)
}

/// What a header says.
fn parse<'h>(blob: &Blob, header: &'h [u8]) -> Result<Header<'h>> {
    serde_json::from_slice(header).map_err(|error| {
        let message = format!("the safetensors header is not the expected JSON: {error}");
        Error::from(LoadError::damaged(blob.path(), message))
    })
}

impl SafetensorsFile {
    /// A tensor and its type, which must be one that can be read.
    fn readable(&self, name: &str) -> Result<(&Entry, DType)> {
        let entry = self.tensors.get(name);
        let entry = entry.ok_or_else(|| super::absent(self, name))?;
        match &entry.info.element {
            StoredType::Readable(dtype) => Ok((entry, *dtype)),
            StoredType::Unreadable(found) => Err(super::unreadable(self, name, found)),
        }
    }
}

impl TensorSource for SafetensorsFile {
    fn origin(&self) -> String {
        self.file.path().display().to_string()
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.tensors.get(name).map(|entry| entry.info.clone())
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let (entry, dtype) = self.readable(name)?;
        numbers::tensor(dtype, &entry.info.shape, |bytes| {
            self.file.fill(entry.start, bytes)
        })
    }

    fn open_matrix(&self, name: &str) -> Result<OpenMatrix<'_>> {
        let (entry, dtype) = self.readable(name)?;
        self.file.will_need(entry.start, entry.info.bytes());
        let read = |from, bytes: &mut [u8]| self.file.read(entry.start + from, bytes);
        OpenMatrix::in_parts_or_whole(numbers::parts(dtype, read), || self.load(name))
    }
}

type Range = (u64, u64);

fn entry(name: &str, about: &RawValue, data: u64, blob: &Blob) -> Result<(Entry, Range)> {
    let wrong = |expected: String, found: String| {
        Error::from(LoadError::Tensor {
            origin: blob.path().display().to_string(),
            tensor: name.to_owned(),
            expected,
            found,
        })
    };
    let about: Described = serde_json::from_str(about.get()).map_err(|_| {
        wrong(
            "dtype, shape and data_offsets".into(),
            about.get().chars().take(80).collect(),
        )
    })?;
    let (from, to) = about.data_offsets;
    let Some((dtype, width)) = dtype(&about.dtype) else {
        // Only a network that asks for the tensor needs its type.
        if from > to || data.checked_add(to).is_none() {
            return Err(wrong("a range of bytes".into(), format!("{from}..{to}")));
        }
        let element = StoredType::Unreadable(about.dtype.chars().take(40).collect());
        return Ok(Entry::new(about.shape, element, data, from, to));
    };
    let needed = about.shape.iter().try_fold(width, |bytes, size| {
        bytes.checked_mul((*size).max(1) as u64)
    });
    let needed = if about.shape.contains(&0) {
        needed.and(Some(0))
    } else {
        needed
    };
    if needed.is_none() || to.checked_sub(from) != needed || data.checked_add(to).is_none() {
        let bytes = needed.map_or("more bytes than there can be".into(), |bytes| {
            format!("{bytes} bytes")
        });
        let expected = format!("{} of shape {:?} in {bytes}", about.dtype, about.shape);
        return Err(wrong(expected, format!("the bytes {from}..{to}")));
    }
    Ok(Entry::new(
        about.shape,
        StoredType::Readable(dtype),
        data,
        from,
        to,
    ))
}

/// The sorted ranges must follow each other without overlap or hole, and end where the file ends.
fn check_ranges(ranges: &[(Range, String)], size: u64) -> Result<(), String> {
    let mut end = 0;
    for ((from, to), name) in ranges {
        if *from != end {
            let how = if *from < end {
                "overlaps the tensor before it"
            } else {
                "comes after a hole"
            };
            return Err(format!(
                "tensor `{name}` {how}: expected it at byte {end} of the data, found it at {from}"
            ));
        }
        end = *to;
    }
    if end != size {
        return Err(format!(
            "the header describes {end} bytes of data, the file has {size}"
        ));
    }
    Ok(())
}

fn dtype(name: &str) -> Option<(DType, u64)> {
    Some(match name {
        "F64" => (DType::F64, 8),
        "F32" => (DType::F32, 4),
        "F16" => (DType::F16, 2),
        "BF16" => (DType::BF16, 2),
        "I64" => (DType::I64, 8),
        "I32" => (DType::I32, 4),
        "I16" => (DType::I16, 2),
        "U32" => (DType::U32, 4),
        "U8" | "BOOL" => (DType::U8, 1),
        _ => return None,
    })
}
