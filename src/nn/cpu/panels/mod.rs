//! Products with weights that are known beforehand: the weights are laid out once in panels of 32
//! columns (`fill`), and tiles of rows run over them with all their sums in registers (`product`).
//!
//! Each sum begins with the bias and takes its terms in the order of the weights, independently of
//! the other rows, so the results are batch-invariant to the bit. In bf16, weights and rows lie in
//! pairs of inputs, which some machines multiply and add in one instruction.

mod fill;
mod product;

use std::ops::Range;

use self::product::Product;
use super::{simd::dispatch, stored::Stored};

pub(super) use self::fill::fill_in_order;

/// Columns of a panel: two of the widest vectors.
pub(super) const WIDTH: usize = 32;

/// Bytes of a panel that are used up before the next, which a core's cache keeps while tiles run
/// over them.
const BLOCK: usize = 128 << 10;

/// A matrix of `taps * inputs` rows and `outputs` columns with a bias. A convolution has a tap for
/// each place of its kernel, a linear layer has one.
#[derive(Clone, Debug)]
pub(crate) struct Panels<T = f32> {
    // (panels, taps, padded inputs / STEP, WIDTH, STEP), zero beyond the last input and output
    values: Vec<T>,
    bias: Vec<f32>, // (panels, WIDTH)
    taps: usize,
    inputs: usize,
    outputs: usize,
}

/// The place of a product's rows: row `i` has its values for tap `t` from `first + i * stride +
/// taps[t]` on, filled up with zeros to a multiple of [`Stored::STEP`].
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T = f32> {
    pub values: &'a [T],
    pub first: usize,
    pub stride: usize,
    pub taps: &'a [usize],
    pub count: usize,
}

/// The destination of a panel's results: row `i` from `first + i * stride` on.
pub(crate) struct Results<'a> {
    pub values: &'a mut [f32],
    pub first: usize,
    pub stride: usize,
    /// Adds the results to the present values instead of overwriting them.
    pub add: bool,
}

/// Number of panels for some outputs.
pub(crate) fn panel_count(outputs: usize) -> usize {
    outputs.div_ceil(WIDTH)
}

/// The outputs that some panels are for, of all `outputs`.
pub(crate) fn panel_columns(outputs: usize, panels: &Range<usize>) -> Range<usize> {
    panels.start * WIDTH..outputs.min(panels.end * WIDTH)
}

/// The bias of each column of all panels (panels, WIDTH): 0 without one and beyond the last output.
pub(super) fn padded_bias(outputs: usize, bias: Option<&[f32]>) -> Vec<f32> {
    let mut padded = bias.unwrap_or(&[]).to_vec();
    padded.resize(panel_count(outputs) * WIDTH, 0.0);
    padded
}

impl<T> Rows<'_, T> {
    /// Where the last row ends, if each of its taps has `width` values.
    fn end(&self, width: usize) -> usize {
        let last = self.first + (self.count - 1) * self.stride;
        let furthest = self.taps.iter().max();
        furthest.map_or(last, |tap| last + tap + width)
    }
}

impl<T: Stored> Panels<T> {
    /// Bytes that weights of this shape (outputs, taps, inputs) take with their bias.
    pub fn bytes_for([outputs, taps, inputs]: [usize; 3]) -> u64 {
        let panels = panel_count(outputs);
        let values = panels * taps * inputs.next_multiple_of(T::STEP) * WIDTH;
        (values * size_of::<T>() + panels * WIDTH * size_of::<f32>()) as u64
    }

    /// Bytes of weights and bias.
    pub fn bytes(&self) -> u64 {
        (size_of_val(&self.values[..]) + size_of_val(&self.bias[..])) as u64
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        panel_count(self.outputs)
    }

    /// The outputs that some panels are for.
    pub fn columns(&self, panels: &Range<usize>) -> Range<usize> {
        panel_columns(self.outputs, panels)
    }

    /// Values of a panel.
    fn panel_len(&self) -> usize {
        self.taps * self.row_width() * WIDTH
    }

    /// Values that go out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Values that come in, for each tap.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Values of a row, for each tap: the inputs and what fills them up.
    pub fn row_width(&self) -> usize {
        self.inputs.next_multiple_of(T::STEP)
    }

    /// Rows of a panel that make a block.
    const DEPTH: usize = BLOCK / (WIDTH * size_of::<T>());

    /// The number of rows, at least one, of which a block reads at most `bytes` bytes.
    pub fn rows_within(&self, bytes: usize) -> usize {
        (bytes / (size_of::<T>() * self.row_width().clamp(1, Self::DEPTH))).max(1)
    }

    /// Multiplies rows by some panels; `results` is where the columns of the first begin.
    ///
    /// # Panics
    /// When rows or results reach beyond their slices.
    pub fn multiply(&self, chosen: Range<usize>, rows: Rows<T>, results: Results) {
        dispatch(Product {
            panels: self,
            chosen,
            rows,
            results,
        });
    }

    /// [`Panels::multiply`] with all panels.
    pub fn multiply_all(&self, rows: Rows<T>, results: Results) {
        self.multiply(0..self.count(), rows, results);
    }
}
