//! Products of weights and rows that are both kept in 8 bits.
//!
//! The scheme is GGUF's `q8_0` for weights: each block of 32 inputs of an output has 32 integers
//! between -127 and 127 and one scale in f16, which is 1.0625 bytes per weight (`block`). A row is
//! quantised in the same blocks when a product reads it, with scales in f32 (`rows`). So an
//! unusually large value coarsens only its own block, and files in that format lose nothing when
//! they are loaded (`fill`).
//!
//! Inside a block integers are added exactly; blocks are added in f32, in order and
//! independently of the other rows (`product`). So the results are batch-invariant, and the same on
//! all machines that multiply and add with one rounding.

mod block;
mod fill;
mod product;
mod rows;

use std::ops::Range;

use half::f16;

use self::product::Product;
use super::{
    panels::{WIDTH, panel_columns, panel_count},
    simd::dispatch_dot,
};

pub use self::block::Q8Block;
pub(crate) use self::rows::QuantizedRows;

/// Inputs that share a scale.
const BLOCK: usize = 32;

/// Inputs whose products one instruction adds.
const QUAD: usize = 4;

/// Quads of a block.
const QUADS: usize = BLOCK / QUAD;

/// A matrix of `inputs` rows and `outputs` columns with a bias, in panels of [`WIDTH`] columns.
#[derive(Clone, Debug)]
pub(crate) struct QuantizedPanels {
    values: Vec<i8>,  // (panels, blocks, QUADS, WIDTH, QUAD)
    scales: Vec<f16>, // (panels, blocks, WIDTH)
    bias: Vec<f32>,   // (panels, WIDTH)
    inputs: usize,
    outputs: usize,
}

impl QuantizedPanels {
    /// Bytes that weights of this shape (outputs, inputs) take with their scales and bias.
    pub fn bytes_for([outputs, inputs]: [usize; 2]) -> u64 {
        let columns = panel_count(outputs) * WIDTH;
        let of_block = BLOCK + size_of::<f16>();
        (columns * (inputs.div_ceil(BLOCK) * of_block + size_of::<f32>())) as u64
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        panel_count(self.outputs)
    }

    /// The outputs that some panels are for.
    pub fn columns(&self, panels: &Range<usize>) -> Range<usize> {
        panel_columns(self.outputs, panels)
    }

    /// Values that go out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Values that come in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The number of rows, at least one, of which a panel reads at most about `bytes` bytes.
    pub fn rows_within(&self, bytes: usize) -> usize {
        (bytes / (2 * self.inputs.max(1))).max(1)
    }

    fn blocks(&self) -> usize {
        self.inputs.div_ceil(BLOCK)
    }

    /// Multiplies `rows`, which [`QuantizedRows::quantize`] made of rows of `inputs` values, by
    /// some panels; row `i` of the results begins at `out[i * stride]` with the first panel's first
    /// column.
    ///
    /// # Panics
    /// When rows or results reach beyond their slices.
    pub fn multiply(
        &self,
        chosen: Range<usize>,
        rows: &QuantizedRows,
        which: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        dispatch_dot(Product {
            panels: self,
            chosen,
            rows,
            which,
            out,
            stride,
        });
    }
}

/// Numbers that have an uneven distribution, for tests.
#[cfg(test)]
fn numbers(count: usize, step: f32) -> Vec<f32> {
    (0..count)
        .map(|i| (i as f32 * step).sin().powi(3))
        .collect()
}
