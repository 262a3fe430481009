//! Tensors in main memory as plain slices, for this crate's own kernels.

use std::{marker::PhantomData, ops::Deref};

use candle_core::{DType, Error, Result, Storage, Tensor};
use rayon::prelude::*;

use super::stored::Stored;

/// Returns whether this crate's kernels can process a tensor. All others are left to the tensor
/// library.
pub(crate) fn is_cpu_f32(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// The values of a contiguous tensor in main memory, borrowed.
pub(crate) struct Values<'a, T = f32> {
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    range: (usize, usize),
    stored: PhantomData<T>,
}

impl<'a> Values<'a> {
    /// Borrows a contiguous f32 tensor; fails for every other one.
    pub fn from_f32(x: &'a Tensor) -> Result<Self> {
        Self::from_tensor(x)
    }
}

impl<'a, T: Stored> Values<'a, T> {
    /// Borrows a contiguous tensor of numbers of type `T`; fails for every other one.
    pub fn from_tensor(x: &'a Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        match (slice::<T>(&storage), layout.contiguous_offsets()) {
            (Some(_), Some(range)) => Ok(Self {
                storage: Box::new(storage),
                range,
                stored: PhantomData,
            }),
            _ => Err(Error::Msg(
                "expected a contiguous tensor in main memory".into(),
            )),
        }
    }
}

fn slice<T: Stored>(storage: &Storage) -> Option<&[T]> {
    if let Storage::Cpu(storage) = storage {
        T::slice(storage)
    } else {
        None
    }
}

impl<T: Stored> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // `from_tensor` has checked the type
        &slice(&self.storage).unwrap_or(&[])[self.range.0..self.range.1]
    }
}

/// The values of an f32 tensor on any device, in the order of its axes.
pub(crate) fn to_vec(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1()
}

/// A new tensor of the same shape whose rows of `width` values are made from the rows of `x` by
/// `f(number, row, out)`, in parallel, each row by itself.
pub(crate) fn map_rows(
    x: &Tensor,
    width: usize,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let mut out = f32::zeros(x.elem_count());
    let together = (1 << 14) / width.max(1) + 1; // rows: about 64 KiB at a time
    let values = Values::from_f32(&x)?;
    out.par_chunks_mut(together * width)
        .zip(values.par_chunks(together * width))
        .enumerate()
        .for_each(|(i, (out, rows))| {
            let rows = out.chunks_mut(width).zip(rows.chunks(width));
            for (row, (out, values)) in rows.enumerate() {
                f(i * together + row, values, out);
            }
        });
    Tensor::from_vec(out, x.dims(), x.device())
}

/// A new tensor of the same shape whose values are made from those of `x` by `f(values, out)`, one
/// chunk at a time, in parallel; `f` must treat each value by itself.
pub(crate) fn map_chunks(x: &Tensor, f: impl Fn(&[f32], &mut [f32]) + Sync) -> Result<Tensor> {
    const CHUNK: usize = 1 << 14; // 64 KiB
    let x = x.contiguous()?;
    let mut out = f32::zeros(x.elem_count());
    let values = Values::from_f32(&x)?;
    out.par_chunks_mut(CHUNK)
        .zip(values.par_chunks(CHUNK))
        .for_each(|(out, x)| f(x, out));
    Tensor::from_vec(out, x.dims(), x.device())
}
