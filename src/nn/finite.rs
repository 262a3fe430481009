//! Finds NaN and infinite numbers before they become images or scores.

use candle_core::{DType, Tensor};
use half::f16;
use rayon::prelude::*;

use super::{
    Q8Block,
    cpu::{Values, is_cpu_f32, to_vec},
};
use crate::{Error, LoadError, Result};

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
    let place = find_beyond(f32::MAX, part)?;
    Some(format!("{} at element {}", part[place], first + place))
}

/// The place of the first number that is NaN or whose absolute value is above `largest`.
fn find_beyond(largest: f32, part: &[f32]) -> Option<usize> {
    const CHUNK: usize = 1 << 10;
    let is_bad = |x: &f32| x.is_nan() | (x.abs() > largest);
    // Without an end in between, the compiler checks many numbers at once.
    let has_bad = |chunk: &[f32]| chunk.iter().fold(false, |bad, x| bad | is_bad(x));
    let begin = CHUNK * part.chunks(CHUNK).position(has_bad)?;
    Some(begin + part[begin..].iter().position(is_bad)?)
}

/// Checks weights before they are rounded to blocks of `q8_0`, in which NaN, infinite and very large
/// numbers would become other ones. They begin at element `first` of a tensor.
///
/// # Errors
/// A weight is NaN, infinite, or too large.
pub(crate) fn check_for_8_bits(
    origin: &str,
    tensor: &str,
    first: usize,
    weights: &[f32],
) -> Result<()> {
    let Some(place) = find_beyond(Q8Block::LARGEST_WEIGHT, weights) else {
        return Ok(());
    };
    let weight = weights[place];
    let origin = origin.to_owned();
    let tensor = tensor.to_owned();
    let found = format!("{weight} at element {}", first + place);
    Err(Error::from(match weight.is_finite() {
        true => LoadError::TooLarge {
            origin,
            tensor,
            most: Q8Block::LARGEST_WEIGHT as u32,
            found,
        },
        false => LoadError::NotFinite {
            origin,
            tensor,
            found,
        },
    }))
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
