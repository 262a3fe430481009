//! Images and numbers as numpy arrays. They pass through numpy's own functions as bytes, so that
//! one build serves every version of numpy.

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyByteArray, PyBytes},
};
use ttsvar::search::Image;

/// An array of the given type and shape over these bytes.
fn array<'py>(
    py: Python<'py>,
    bytes: &[u8],
    dtype: &str,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    // The bytes of an array of bytes can be written to, as torch wishes.
    let flat = py
        .import("numpy")?
        .call_method1("frombuffer", (PyByteArray::new(py, bytes), dtype))?;
    flat.call_method1("reshape", (shape,))
}

/// Shape and bytes of anything that numpy makes an array of the given type of.
fn contents<'py>(
    value: &Bound<'py, PyAny>,
    dtype: &str,
) -> PyResult<(Vec<usize>, Bound<'py, PyBytes>)> {
    let array = value
        .py()
        .import("numpy")?
        .call_method1("asarray", (value, dtype))?;
    let bytes = array.call_method0("tobytes")?.cast_into::<PyBytes>()?;
    Ok((array.getattr("shape")?.extract()?, bytes))
}

/// (H, W, 3) uint8.
pub(crate) fn image<'py>(py: Python<'py>, image: &Image) -> PyResult<Bound<'py, PyAny>> {
    array(
        py,
        image.pixels(),
        "uint8",
        &[image.height(), image.width(), 3],
    )
}

/// (B, H, W, 3) uint8, of images of one size.
pub(crate) fn batch<'py>(py: Python<'py>, images: &[Image]) -> PyResult<Bound<'py, PyAny>> {
    let (height, width) = images
        .first()
        .map_or((0, 0), |first| (first.height(), first.width()));
    if images
        .iter()
        .any(|image| (image.height(), image.width()) != (height, width))
    {
        return Err(PyValueError::new_err(
            "images of different sizes make no batch",
        ));
    }
    let pixels: Vec<u8> = images.iter().flat_map(Image::pixels).copied().collect();
    array(py, &pixels, "uint8", &[images.len(), height, width, 3])
}

/// One number for each image, `(B,)` float32.
pub(crate) fn scores<'py>(py: Python<'py>, scores: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    let bytes: Vec<u8> = scores
        .iter()
        .flat_map(|score| score.to_ne_bytes())
        .collect();
    array(py, &bytes, "float32", &[scores.len()])
}

/// The image of an (H, W, 3) uint8 array.
pub(crate) fn picture(array: &Bound<'_, PyAny>) -> PyResult<Image> {
    let (shape, bytes) = contents(array, "uint8")?;
    match shape[..] {
        [height, width, 3] if height > 0 && width > 0 => {
            Ok(Image::new(width, height, bytes.as_bytes().to_vec()))
        }
        _ => Err(misshapen("an image", "(H, W, 3)", &shape)),
    }
}

/// What a callable returned for `count` images: one number each, `(B,)`.
pub(crate) fn numbers(found: &Bound<'_, PyAny>, count: usize, who: &str) -> PyResult<Vec<f32>> {
    let (shape, numbers) = floats(found)?;
    if shape != [count] {
        return Err(misshapen(who, &format!("({count},)"), &shape));
    }
    Ok(numbers)
}

/// What a callable returned for `count` images: a row of numbers each, `(B, D)`; D and the numbers.
pub(crate) fn rows(
    found: &Bound<'_, PyAny>,
    count: usize,
    who: &str,
) -> PyResult<(usize, Vec<f32>)> {
    let (shape, numbers) = floats(found)?;
    match shape[..] {
        [rows, width] if rows == count && width > 0 => Ok((width, numbers)),
        _ => Err(misshapen(who, &format!("({count}, D)"), &shape)),
    }
}

/// Shape and numbers, row by row.
fn floats(found: &Bound<'_, PyAny>) -> PyResult<(Vec<usize>, Vec<f32>)> {
    let (shape, bytes) = contents(found, "float32")?;
    let (numbers, _) = bytes.as_bytes().as_chunks();
    Ok((
        shape,
        numbers
            .iter()
            .map(|number| f32::from_ne_bytes(*number))
            .collect(),
    ))
}

fn misshapen(who: &str, expected: &str, found: &[usize]) -> PyErr {
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    PyValueError::new_err(format!(
        "{who}: expected an array of shape {expected}, found ({})",
        found.join(", ")
    ))
}
