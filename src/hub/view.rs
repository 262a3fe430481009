//! Tensors as views of the storages in a PyTorch file.

use candle_core::Tensor;

use super::{numbers, pickle::View};
use crate::{Error, Result, nn::ReadPart};

/// Checks that a view lies inside its storage; the error holds the expected and the found.
pub(super) fn check(view: &View) -> Result<(), (String, String)> {
    let elements = view.storage.elements;
    match extent(view) {
        Some((count, end)) if count <= elements && end <= elements => Ok(()),
        _ => {
            let View {
                offset,
                shape,
                stride,
                ..
            } = view;
            let found = format!("shape {shape:?}, strides {stride:?}, offset {offset}");
            Err((format!("a view of {elements} stored elements"), found))
        }
    }
}

/// The tensor of a view that was checked. `read` writes the bytes of the elements of the storage from
/// one place to another.
///
/// # Errors
/// `read` fails.
pub(super) fn tensor(
    view: &View,
    read: impl FnOnce(usize, usize, &mut [u8]) -> Result<()>,
) -> Result<Tensor> {
    let Some(dtype) = view.storage.element.dtype else {
        let name = view.storage.element.name;
        return Err(Error::internal(format!("a tensor of {name} is read")));
    };
    numbers::tensor(dtype, &view.shape, |bytes| fill(view, bytes, read))
}

/// Reads parts of a tensor whose elements are stored in order. `read` fills memory with the bytes that
/// begin at some byte of the storage. `None` for other tensors.
pub(super) fn parts<'a>(
    view: &View,
    read: impl Fn(u64, &mut [u8]) -> Result<()> + Send + Sync + 'a,
) -> Option<ReadPart<'a, f32>> {
    let dtype = view.storage.element.dtype.filter(|_| is_contiguous(view))?;
    let start = (view.offset * view.storage.element.width) as u64;
    numbers::parts(dtype, move |from, bytes| read(start + from, bytes))
}

fn fill(
    view: &View,
    bytes: &mut [u8],
    read: impl FnOnce(usize, usize, &mut [u8]) -> Result<()>,
) -> Result<()> {
    match extent(view).filter(|(count, _)| *count > 0) {
        Some((_, end)) if is_contiguous(view) => read(view.offset, end, bytes),
        Some((_, end)) => {
            let mut stored = vec![0; (end - view.offset) * view.storage.element.width];
            read(view.offset, end, &mut stored)?;
            gather(view, &stored, bytes);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Number of elements of a view, and the end of the last one in its storage; `None` where that
/// overflows.
fn extent(view: &View) -> Option<(usize, usize)> {
    let count = view
        .shape
        .iter()
        .try_fold(1usize, |count, size| count.checked_mul((*size).max(1)))?;
    if view.shape.contains(&0) {
        return Some((0, 0));
    }
    let mut end = view.offset.checked_add(1)?;
    for (size, stride) in view.shape.iter().zip(&view.stride) {
        end = end.checked_add((size - 1).checked_mul(*stride)?)?;
    }
    Some((count, end))
}

fn is_contiguous(view: &View) -> bool {
    let mut expected = 1;
    view.shape
        .iter()
        .zip(&view.stride)
        .rev()
        .all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected *= size.max(&1);
            fits
        })
}

/// Copies the elements of a view into row-major order; `bytes` begin at the view's offset.
fn gather(view: &View, bytes: &[u8], out: &mut [u8]) {
    let width = view.storage.element.width;
    let mut index = vec![0usize; view.shape.len()];
    for out in out.chunks_exact_mut(width.max(1)) {
        let at: usize = index
            .iter()
            .zip(&view.stride)
            .map(|(i, stride)| i * stride)
            .sum();
        out.copy_from_slice(&bytes[at * width..(at + 1) * width]);
        for (axis, size) in view.shape.iter().enumerate().rev() {
            index[axis] += 1;
            if index[axis] < *size {
                break;
            }
            index[axis] = 0;
        }
    }
}
