//! Images and numbers as numpy arrays. They are passed to numpy's Python functions as bytes, so one
//! build works with every version of numpy.

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyByteArray, PyBytes},
};
use ttsvar::search::Image;

/// Makes an array of the given type and shape from bytes.
fn array<'py>(
    py: Python<'py>,
    bytes: &[u8],
    dtype: &str,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    // A bytearray makes the array writable, which torch expects
    let flat = py
        .import("numpy")?
        .call_method1("frombuffer", (PyByteArray::new(py, bytes), dtype))?;
    flat.call_method1("reshape", (shape,))
}

/// The shape and the bytes of a value that numpy can convert to an array of the given type.
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

/// An image as an array `(H, W, 3)` of uint8.
pub(crate) fn image<'py>(py: Python<'py>, image: &Image) -> PyResult<Bound<'py, PyAny>> {
    array(
        py,
        image.pixels(),
        "uint8",
        &[image.height(), image.width(), 3],
    )
}

/// Images of one size as an array `(B, H, W, 3)` of uint8.
pub(crate) fn batch<'py>(py: Python<'py>, images: &[Image]) -> PyResult<Bound<'py, PyAny>> {
    let (height, width) = images
        .first()
        .map_or((0, 0), |first| (first.height(), first.width()));
    if images
        .iter()
        .any(|image| (image.height(), image.width()) != (height, width))
    {
        return Err(PyValueError::new_err(
            "the images of a batch must have the same size",
        ));
    }
    let pixels: Vec<u8> = images.iter().flat_map(Image::pixels).copied().collect();
    array(py, &pixels, "uint8", &[images.len(), height, width, 3])
}

/// One number per image, as an array `(B,)` of float32.
pub(crate) fn scores<'py>(py: Python<'py>, scores: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    let bytes: Vec<u8> = scores
        .iter()
        .flat_map(|score| score.to_ne_bytes())
        .collect();
    array(py, &bytes, "float32", &[scores.len()])
}

/// The image in an array `(H, W, 3)` of uint8.
pub(crate) fn to_image(array: &Bound<'_, PyAny>) -> PyResult<Image> {
    let (shape, bytes) = contents(array, "uint8")?;
    match shape[..] {
        [height, width, 3] if height > 0 && width > 0 => {
            Ok(Image::new(width, height, bytes.as_bytes().to_vec()))
        }
        _ => Err(shape_error("an image", "(H, W, 3)", &shape)),
    }
}

/// The numbers that a callable returned for `count` images: one each, `(B,)`.
pub(crate) fn numbers(found: &Bound<'_, PyAny>, count: usize, what: &str) -> PyResult<Vec<f32>> {
    let (shape, numbers) = floats(found, what, &format!("({count},)"))?;
    if shape != [count] {
        return Err(shape_error(what, &format!("({count},)"), &shape));
    }
    Ok(numbers)
}

/// The features that a callable returned for `count` images: one row each, `(B, D)`. Returns D and
/// the numbers.
pub(crate) fn rows(
    found: &Bound<'_, PyAny>,
    count: usize,
    what: &str,
) -> PyResult<(usize, Vec<f32>)> {
    let (shape, numbers) = floats(found, what, &format!("({count}, D)"))?;
    match shape[..] {
        [rows, width] if rows == count && width > 0 => Ok((width, numbers)),
        _ => Err(shape_error(what, &format!("({count}, D)"), &shape)),
    }
}

/// The shape and the numbers, row by row; `what` and the shape that is expected are for errors.
fn floats(
    found: &Bound<'_, PyAny>,
    what: &str,
    expected: &str,
) -> PyResult<(Vec<usize>, Vec<f32>)> {
    let py = found.py();
    let refused = |found: &str| {
        PyValueError::new_err(format!(
            "{what}: expected an array of shape {expected}, found {found}"
        ))
    };
    if found.is_none() {
        return Err(refused("None"));
    }
    let (shape, bytes) = contents(found, "float32").map_err(|error| {
        if !error.is_instance_of::<PyValueError>(py) && !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        let refusal = refused(&format!("something else: {}", error.value(py)));
        refusal.set_cause(py, Some(error));
        refusal
    })?;
    let (numbers, _) = bytes.as_bytes().as_chunks();
    Ok((
        shape,
        numbers
            .iter()
            .map(|number| f32::from_ne_bytes(*number))
            .collect(),
    ))
}

fn shape_error(what: &str, expected: &str, found: &[usize]) -> PyErr {
    let found = match found {
        [only] => format!("({only},)"),
        _ => {
            let sizes: Vec<String> = found.iter().map(ToString::to_string).collect();
            format!("({})", sizes.join(", "))
        }
    };
    PyValueError::new_err(format!(
        "{what}: expected an array of shape {expected}, found {found}"
    ))
}
