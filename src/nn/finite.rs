//! Finds NaN and infinite numbers before they become images or scores.

use candle_core::{DType, Tensor};
use half::f16;
use rayon::prelude::*;

use super::{
    Q8Block,
    cpu::{Values, is_cpu_f32, to_vec},
};
use crate::{Error, Result};

/// Describes the first NaN or infinite number of a tensor with its place, if there is one.
///
/// # Errors
/// The device fails.
pub fn first_not_finite(x: &Tensor) -> Result<Option<String>> {
    if is_cpu_f32(x) {
        let x = x.contiguous()?;
        return Ok(find_not_finite(&Values::from_f32(&x)?));
    }
    // NaN as soon as one number is not finite
    let sum = x.to_dtype(DType::F32)?.affine(0.0, 0.0)?.sum_all()?;
    if sum.to_scalar::<f32>()?.is_finite() {
        return Ok(None);
    }
    Ok(find_not_finite(&to_vec(&x.to_dtype(DType::F32)?)?))
}

/// The first of these that is not finite, and its place.
fn find_not_finite(numbers: &[f32]) -> Option<String> {
    const CHUNK: usize = 1 << 16;
    let chunks = numbers.par_chunks(CHUNK).enumerate();
    let found = chunks.filter_map(|(i, part)| find_not_finite_of_part(i * CHUNK, part));
    found.find_first(|_| true)
}

/// The same on one thread, for a part of a tensor that begins at element `first`.
pub(super) fn find_not_finite_of_part(first: usize, part: &[f32]) -> Option<String> {
    const CHUNK: usize = 1 << 10;
    // Without an end in between, the compiler checks many numbers at once.
    let is_bad = |chunk: &[f32]| chunk.iter().fold(false, |bad, x| bad | !x.is_finite());
    let begin = CHUNK * part.chunks(CHUNK).position(is_bad)?;
    let place = begin + part[begin..].iter().position(|x| !x.is_finite())?;
    Some(format!("{} at element {}", part[place], first + place))
}

/// The first of these blocks of `q8_0` whose values are not finite, and the place of its first value.
/// The blocks begin at byte `first` of their tensor.
pub(super) fn find_not_finite_scale(first: usize, blocks: &[u8]) -> Option<String> {
    let (blocks, _) = blocks.as_chunks::<{ Q8Block::BYTES }>();
    let scale = |block: &[u8; Q8Block::BYTES]| f16::from_le_bytes([block[0], block[1]]);
    let place = blocks.iter().position(|block| !scale(block).is_finite())?;
    let number = scale(&blocks[place]);
    let element = (first / Q8Block::BYTES + place) * Q8Block::VALUES;
    Some(format!("{number} at element {element}"))
}

/// Checks numbers that a network computed. `what` names them, such as `the logits of scale 3`.
///
/// # Errors
/// One of them is NaN or infinite.
pub fn check_finite(what: &str, x: &Tensor) -> Result<()> {
    match first_not_finite(x)? {
        None => Ok(()),
        Some(found) => Err(Error::system(format!(
            "{what}: expected finite numbers, found {found}"
        ))
        .with_hint(
            "the weights may be damaged, or come from different models; \
                 with bf16, try --dtype f32",
        )),
    }
}
