//! Finds NaN and infinite numbers before they become images or scores.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::cpu::{Values, is_cpu_f32, to_vec};
use crate::{Error, Result};

/// Describes the first NaN or infinite number of a tensor with its place, if there is one.
///
/// # Errors
/// The device fails.
pub fn first_not_finite(x: &Tensor) -> Result<Option<String>> {
    if is_cpu_f32(x) {
        let x = x.contiguous()?;
        return Ok(find(&Values::from_f32(&x)?));
    }
    // NaN as soon as one number is not finite
    let sum = x.to_dtype(DType::F32)?.affine(0.0, 0.0)?.sum_all()?;
    if sum.to_scalar::<f32>()?.is_finite() {
        return Ok(None);
    }
    Ok(find(&to_vec(&x.to_dtype(DType::F32)?)?))
}

fn find(numbers: &[f32]) -> Option<String> {
    const CHUNK: usize = 1 << 16;
    let place = |(chunk, numbers): (usize, &[f32])| {
        let place = numbers.iter().position(|number| !number.is_finite())?;
        Some((chunk * CHUNK + place, numbers[place]))
    };
    let chunks = numbers.par_chunks(CHUNK).enumerate();
    let (place, number) = chunks.filter_map(place).find_first(|_| true)?;
    Some(format!("{number} at element {place}"))
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
