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
pub(super) fn find_not_finite(numbers: &[f32]) -> Option<String> {
    const CHUNK: usize = 1 << 16;
    let place = |(chunk, numbers): (usize, &[f32])| {
        let place = numbers.iter().position(|number| !number.is_finite())?;
        Some((chunk * CHUNK + place, numbers[place]))
    };
    let chunks = numbers.par_chunks(CHUNK).enumerate();
    let (place, number) = chunks.filter_map(place).find_first(|_| true)?;
    Some(format!("{number} at element {place}"))
}

/// The first of these blocks of `q8_0` whose values are not finite, and the place of its first value.
pub(super) fn find_not_finite_scale(blocks: &[u8]) -> Option<String> {
    let (blocks, _) = blocks.as_chunks::<{ Q8Block::BYTES }>();
    let scale = |block: &[u8; Q8Block::BYTES]| f16::from_le_bytes([block[0], block[1]]);
    let place = blocks.iter().position(|block| !scale(block).is_finite())?;
    let number = scale(&blocks[place]);
    Some(format!("{number} at element {}", place * Q8Block::VALUES))
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
            "the weights may be damaged or do not belong together; \
                 with bf16, try --dtype f32",
        )),
    }
}
