//! Writes GGUF files, tensor by tensor.

use std::{
    io::{self, Write},
    path::Path,
};

use candle_core::{DType, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::gguf_file::{ALIGNMENT, ALIGNMENT_KEY, Kind, MAGIC};
use crate::{
    Error, Result, file,
    nn::{Q8Block, StoredType, TensorInfo, TensorSource},
};

/// The version of the format.
const VERSION: u32 = 3;

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

/// What a tensor of this name and shape becomes that is stored as `dtype`; `None` if it is left out.
fn kind_of(name: &str, shape: &[usize], dtype: DType) -> Option<Kind> {
    match dtype {
        dtype if !dtype.is_float() => None,
        _ if is_matrix(name, shape) => Some(Kind::Q8),
        DType::F16 | DType::BF16 => Some(Kind::Plain(dtype)),
        _ => Some(Kind::Plain(DType::F32)),
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

/// Writes all floating-point tensors of `source` to `path`: matrices of linear layers in `q8_0`,
/// everything else as it was stored. One tensor is in memory at a time. Calls `done` with the
/// share that is written after each tensor. Returns the bytes of the file.
///
/// # Errors
/// A tensor cannot be read, or the file cannot be written; then none is left behind.
pub fn write_q8_0(
    source: &dyn TensorSource,
    path: &Path,
    mut done: impl FnMut(f64),
) -> Result<u64> {
    let mut tensors = vec![];
    let mut offset = 0;
    for name in source.names() {
        let Some(TensorInfo {
            shape,
            element: StoredType::Readable(dtype),
        }) = source.info(&name)
        else {
            continue;
        };
        let Some(kind) = kind_of(&name, &shape, dtype) else {
            continue;
        };
        let values = shape.iter().map(|size| *size as u64).product();
        let (Some(number), Some(bytes)) = (kind.number(), kind.bytes(values)) else {
            return Err(Error::internal(format!("`{name}` cannot be written")));
        };
        tensors.push(Written {
            name,
            shape,
            kind,
            number,
            offset,
        });
        offset = (offset + bytes).next_multiple_of(ALIGNMENT);
    }
    let total = offset.max(1);
    let header = header(&tensors);
    let bytes = header.len() as u64 + offset;
    // An error of reading must come out as it is, not as one of writing.
    let mut failed = None;
    let written = file::replace_with(path, |out| {
        out.write_all(&header)?;
        for written in &tensors {
            let tensor = source.load(&written.name);
            let content = match tensor.and_then(|tensor| content(&tensor, written.kind)) {
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
        None => written.map(|()| bytes).map_err(Error::io(path)),
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
fn content(tensor: &Tensor, kind: Kind) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match kind {
        Kind::Plain(DType::F16) => {
            let values = flat.to_vec1::<f16>()?;
            values.into_iter().flat_map(f16::to_le_bytes).collect()
        }
        Kind::Plain(DType::BF16) => {
            let values = flat.to_vec1::<bf16>()?;
            values.into_iter().flat_map(bf16::to_le_bytes).collect()
        }
        Kind::Q8 => to_q8_0(&flat.to_dtype(DType::F32)?.to_vec1::<f32>()?),
        _ => {
            let values = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            values.into_iter().flat_map(f32::to_le_bytes).collect()
        }
    })
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
