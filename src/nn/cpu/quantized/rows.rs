//! Rows in 8 bits.

use super::{
    BLOCK, QUAD, QUADS,
    block::{LARGEST, inverse, largest, nearest},
};
use crate::nn::cpu::{
    simd::{Dot, DotKernel, dispatch_dot},
    stored::bytes_apart,
};

/// Rows in 8 bits, in the form that this machine's instructions read.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuantizedRows {
    pub(super) bytes: Vec<u8>, // (rows, blocks, QUADS, bytes of a quad), rows `bytes_apart`
    pub(super) scales: Vec<f32>, // (rows, blocks)
    pub(super) starts: Vec<i32>, // (rows, blocks): beginnings of sums; arbitrary if a scale is not finite
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
    fn run<D: Dot>(self, _: D::Detected) {
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
                let mut block = [0.0; BLOCK];
                block[..part.len()].copy_from_slice(part);
                let scale = largest(&block) / LARGEST;
                let factor = inverse(scale);
                let block = block.map(|value| nearest(value * factor));
                let (quads, _) = block.as_chunks::<QUAD>();
                for (quad, to) in quads.iter().zip(bytes.chunks_exact_mut(D::QUAD_BYTES)) {
                    D::write_quad(quad.map(|value| value as i8), to);
                }
                rows.scales.push(scale);
                let sum = block.into_iter().fold(0, i32::wrapping_add);
                rows.starts.push(sum.wrapping_mul(-D::OFFSET));
            }
        }
    }
}
