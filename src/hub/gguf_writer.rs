//! Writes GGUF files, tensor by tensor.

use std::{
    io::{self, Write},
    path::Path,
};

use candle_core::{DType, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::gguf_file::{ALIGNMENT, ALIGNMENT_KEY, Kind, LONGEST_NAME, MAGIC, MOST_AXES};
use crate::{
    Error, Result, file,
    nn::{Q8Block, StoredType, TensorInfo, TensorSource, check_for_8_bits},
};

/// The version of the format.
const VERSION: u32 = 3;

/// A file that was written.
#[derive(Debug)]
pub struct WrittenFile {
    /// Its bytes.
    pub bytes: u64,
    /// The tensors that are not in it, each with the reason, for messages.
    pub left_out: Vec<String>,
}

/// A tensor of the file.
struct Written {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    /// The number of the kind in files.
    number: u32,
    /// First byte among those of all tensors.
    offset: u64,
}

/// How a tensor of this name and shape is written that is stored as `dtype`. The format has no
/// integers without a sign.
fn kind_of(name: &str, shape: &[usize], dtype: DType) -> Kind {
    match dtype {
        DType::U8 => Kind::Plain(DType::I16),
        DType::U32 => Kind::Plain(DType::I64),
        _ if dtype.is_float() && is_matrix(name, shape) => Kind::Q8,
        _ => Kind::Plain(dtype),
    }
}

/// The reason why a tensor cannot be in a file, if there is one.
fn obstacle(name: &str, info: &TensorInfo) -> Option<String> {
    match &info.element {
        StoredType::Unreadable(found) => Some(found.clone()),
        _ if info.shape.len() > MOST_AXES => Some(format!("{} axes", info.shape.len())),
        _ if name.len() > LONGEST_NAME => Some(format!("a name of {} bytes", name.len())),
        StoredType::Readable(_) => None,
    }
}

/// Returns whether the tensor of this name and shape is the matrix of a linear layer, by the names
/// that models use: tables of vectors have `emb` or `shared` in theirs.
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let is_table = ["emb", "shared", "relative_attention_bias", "codebook"]
        .iter()
        .any(|part| name.contains(part));
    match shape {
        [outputs, inputs] => {
            name.ends_with(".weight")
                && !is_table
                && *outputs > 1
                && inputs.is_multiple_of(Q8Block::VALUES)
        }
        _ => false,
    }
}

/// Writes the tensors of `source` to `path`: matrices of linear layers in `q8_0`, everything else as it
/// was stored. Tensors that the format cannot hold are left out. One tensor is in memory at a time.
/// Calls `done` with the share that is written after each tensor.
///
/// # Errors
/// A tensor cannot be read, a matrix has a number that 8 bits cannot hold (NaN, infinite, too large), or
/// the file cannot be written; then none is left behind.
pub fn write_q8_0(
    source: &dyn TensorSource,
    path: &Path,
    mut done: impl FnMut(f64),
) -> Result<WrittenFile> {
    let mut tensors = vec![];
    let mut left_out = vec![];
    let mut offset = 0;
    for name in source.names() {
        let Some(info) = source.info(&name) else {
            continue;
        };
        if let Some(obstacle) = obstacle(&name, &info) {
            let name: String = name.chars().take(80).collect();
            left_out.push(format!("`{}` ({obstacle})", name.escape_debug()));
            continue;
        }
        let StoredType::Readable(dtype) = info.element else {
            continue;
        };
        let kind = kind_of(&name, &info.shape, dtype);
        let bytes = kind.bytes(info.values() as u64);
        let (Some(number), Some(bytes)) = (kind.number(), bytes) else {
            return Err(Error::internal(format!("`{name}` cannot be written")));
        };
        tensors.push(Written {
            name,
            shape: info.shape,
            kind,
            number,
            offset,
        });
        offset = (offset + bytes).next_multiple_of(ALIGNMENT);
    }
    let total = offset.max(1);
    let header = header(&tensors);
    let bytes = header.len() as u64 + offset;
    let origin = source.origin();
    // An error of reading must come out as it is, not as one of writing.
    let mut failed = None;
    let written = file::replace_with(path, |out| {
        out.write_all(&header)?;
        for written in &tensors {
            let tensor = source.load(&written.name);
            let content = match tensor.and_then(|tensor| content(&origin, written, &tensor)) {
                Ok(content) => content,
                Err(error) => {
                    failed = Some(error);
                    return Err(io::Error::other("a tensor cannot be read"));
                }
            };
            out.write_all(&content)?;
            let rest = content.len().next_multiple_of(ALIGNMENT as usize) - content.len();
            out.write_all(&[0; ALIGNMENT as usize][..rest])?;
            done((written.offset + content.len() as u64) as f64 / total as f64);
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error),
        None => {
            written.map_err(Error::io(path))?;
            Ok(WrittenFile { bytes, left_out })
        }
    }
}

/// The header up to the first tensor.
fn header(tensors: &[Written]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    let text = |header: &mut Vec<u8>, text: &str| {
        header.extend((text.len() as u64).to_le_bytes());
        header.extend(text.as_bytes());
    };
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(2u64.to_le_bytes());
    text(&mut header, "general.architecture");
    header.extend(8u32.to_le_bytes());
    text(&mut header, "ttsvar");
    text(&mut header, ALIGNMENT_KEY);
    header.extend(4u32.to_le_bytes());
    header.extend((ALIGNMENT as u32).to_le_bytes());
    for tensor in tensors {
        text(&mut header, &tensor.name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            header.extend((*size as u64).to_le_bytes());
        }
        header.extend(tensor.number.to_le_bytes());
        header.extend(tensor.offset.to_le_bytes());
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    header
}

/// The bytes of a tensor.
fn content(origin: &str, written: &Written, tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    let dtype = match written.kind {
        Kind::Plain(dtype) => dtype,
        Kind::Q8 | Kind::Quantised(_) => DType::F32,
    };
    let flat = flat.to_dtype(dtype)?;
    match (written.kind, dtype) {
        (Kind::Q8, _) => {
            let weights = flat.to_vec1::<f32>()?;
            check_for_8_bits(origin, &written.name, 0, &weights)?;
            Ok(to_q8_0(&weights))
        }
        (_, DType::F64) => bytes_of(&flat, f64::to_le_bytes),
        (_, DType::F32) => bytes_of(&flat, f32::to_le_bytes),
        (_, DType::F16) => bytes_of(&flat, f16::to_le_bytes),
        (_, DType::BF16) => bytes_of(&flat, bf16::to_le_bytes),
        (_, DType::I64) => bytes_of(&flat, i64::to_le_bytes),
        (_, DType::I32) => bytes_of(&flat, i32::to_le_bytes),
        (_, DType::I16) => bytes_of(&flat, i16::to_le_bytes),
        (_, other) => Err(Error::internal(format!("{other:?} is written to GGUF"))),
    }
}

/// The bytes of the numbers of a flat tensor.
fn bytes_of<T: WithDType, const N: usize>(
    flat: &Tensor,
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Vec<u8>> {
    Ok(flat.to_vec1()?.into_iter().flat_map(bytes).collect())
}

/// Blocks of `q8_0`.
fn to_q8_0(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() / Q8Block::VALUES * Q8Block::BYTES];
    bytes
        .par_chunks_exact_mut(Q8Block::BYTES)
        .with_min_len(1024)
        .zip(values.par_chunks_exact(Q8Block::VALUES))
        .for_each(|(bytes, values)| {
            let block = Q8Block::new(values);
            let (scale, whole) = bytes.split_at_mut(2);
            scale.copy_from_slice(&block.scale.to_le_bytes());
            for (byte, value) in whole.iter_mut().zip(block.values) {
                *byte = value.cast_unsigned();
            }
        });
    bytes
}
