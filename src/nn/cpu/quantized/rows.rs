//! Rows in 8 bits.

use super::{
    BLOCK, QUADS,
    block::{LARGEST, SHIFT, inverse, largest, nearest},
};
use crate::nn::cpu::{
    simd::{Dot, DotKernel, Lanes, dispatch_dot},
    stored::bytes_apart,
};

/// Rows in 8 bits, in the form that this machine's instructions read.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuantizedRows {
    pub(super) bytes: Vec<u8>, // (rows, blocks, QUADS, bytes of a quad), rows `bytes_apart`
    pub(super) scales: Vec<f32>, // (rows, blocks)
    pub(super) starts: Vec<i32>, // (rows, blocks): beginnings of sums; arbitrary if the scale is not finite
    pub(super) count: usize,
}

impl QuantizedRows {
    /// Quantises rows of `width` values into this memory.
    pub fn quantize(&mut self, values: &[f32], width: usize) {
        dispatch_dot(Quantize {
            values,
            width,
            rows: self,
        });
    }
}

/// Bytes from one row to the next.
pub(super) fn row_stride<D: Dot>(blocks: usize) -> usize {
    bytes_apart(blocks * QUADS * D::QUAD_BYTES)
}

/// Quantises rows into memory that is used again.
pub(super) struct Quantize<'a> {
    pub values: &'a [f32],
    pub width: usize,
    pub rows: &'a mut QuantizedRows,
}

impl DotKernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, simd: D::Detected) {
        let lanes = D::lanes(simd);
        let Self {
            values,
            width,
            rows,
        } = self;
        let blocks = width.div_ceil(BLOCK);
        rows.count = values.len() / width.max(1);
        rows.bytes.clear();
        let stride = row_stride::<D>(blocks);
        rows.bytes.resize(rows.count * stride, 0);
        rows.scales.clear();
        rows.starts.clear();
        for (row, bytes) in values
            .chunks_exact(width.max(1))
            .zip(rows.bytes.chunks_exact_mut(stride.max(1)))
        {
            for (part, bytes) in row
                .chunks(BLOCK)
                .zip(bytes.chunks_exact_mut(QUADS * D::QUAD_BYTES))
            {
                let mut filled = [0.0; BLOCK];
                let block = match <&[f32; BLOCK]>::try_from(part) {
                    Ok(block) => block,
                    Err(_) => {
                        filled[..part.len()].copy_from_slice(part);
                        &filled
                    }
                };
                let scale = largest(block) / LARGEST;
                let factor = inverse(scale);
                let mut small = [0; BLOCK];
                for (small, value) in small.iter_mut().zip(block) {
                    *small = nearest(value * factor) as i8;
                }
                D::write_quads(&small, bytes);
                let sum = sum_of_nearest::<D::Lanes>(lanes, block, factor);
                rows.scales.push(scale);
                rows.starts.push(-D::OFFSET * sum as i32);
            }
        }
    }
}

/// The sum of the integers that are [`nearest`] to the values times `factor`.
#[inline(always)]
fn sum_of_nearest<L: Lanes>(simd: L::Detected, block: &[f32; BLOCK], factor: f32) -> f32 {
    let factor = L::splat(simd, factor);
    let shift = L::splat(simd, SHIFT);
    let mut sum = L::splat(simd, 0.0);
    for part in block.chunks_exact(L::COUNT) {
        let values = L::load(simd, part).mul(factor);
        sum = sum.add(values.add(shift).sub(shift));
    }
    sum.total()
}
