//! Products of weights and rows that are both kept in 8 bits.
//!
//! The scheme is GGUF's `q8_0` for weights: each block of 32 inputs of an output has 32 whole
//! numbers between -127 and 127 and one scale in f16, which is 1.0625 bytes per weight. A row is
//! quantised in the same blocks when a product reads it, with scales in f32. So an unusually large
//! value coarsens only its own block, and files in that format lose nothing when they are loaded.
//!
//! Inside a block integers are added exactly; blocks are added in f32, in order and
//! independently of the other rows. So the results are batch-invariant, and the same on all
//! machines that multiply and add with one rounding.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::{
    memory::advise_large_pages,
    panels::{WIDTH, fill_in_order},
    simd::{Dot, DotKernel, Lanes, dispatch_dot},
    stored::bytes_apart,
};
use crate::Result;

/// Inputs that share a scale.
const BLOCK: usize = 32;

/// Inputs whose products one instruction adds.
const QUAD: usize = 4;

/// Quads of a block.
const QUADS: usize = BLOCK / QUAD;

/// The largest integer.
const LARGEST: f32 = 127.0;

/// A matrix of `inputs` rows and `outputs` columns with a bias, in panels of [`WIDTH`] columns.
#[derive(Clone, Debug)]
pub(crate) struct QuantizedPanels {
    values: Vec<i8>,  // (panels, blocks, QUADS, WIDTH, QUAD)
    scales: Vec<f16>, // (panels, blocks, WIDTH)
    bias: Vec<f32>,   // (panels, WIDTH)
    inputs: usize,
    outputs: usize,
}

/// Rows in 8 bits, in the form that this machine's instructions read.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuantizedRows {
    bytes: Vec<u8>,   // (rows, blocks, QUADS, bytes of a quad), rows `bytes_apart`
    scales: Vec<f32>, // (rows, blocks)
    sums: Vec<i32>,   // (rows, blocks): the sum of a block's integers
    count: usize,
}

/// The integer that is nearest to a value between -127 and 127, of two as near the even one.
#[inline(always)]
fn nearest(value: f32) -> i8 {
    // So large that the bits behind the point fall away.
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23
    (value + SHIFT).to_bits() as i8
}

/// The largest absolute value; NaN if one value is.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    // Without their sign the bits of numbers have the order of the numbers, with NaN at the top.
    let bits = values.iter().map(|value| value.to_bits() & 0x7fff_ffff);
    f32::from_bits(bits.fold(0, u32::max))
}

/// A block of weights as `q8_0` has it.
pub struct Q8Block {
    /// What the integers are to be multiplied by.
    pub scale: f16,
    /// Integers between -127 and 127.
    pub values: [i8; BLOCK],
}

impl Q8Block {
    /// Its values.
    pub const VALUES: usize = BLOCK;

    /// Its bytes in files.
    pub const BYTES: usize = size_of::<f16>() + BLOCK;

    /// The block that is nearest to these weights, at most 32 of them.
    pub fn new(weights: &[f32]) -> Self {
        let scale = weight_scale(largest(weights));
        let factor = inverse(scale.to_f32());
        let mut values = [0; BLOCK];
        for (value, weight) in values.iter_mut().zip(weights) {
            *value = nearest((weight * factor).clamp(-LARGEST, LARGEST));
        }
        Self { scale, values }
    }

    /// Writes the values of whole blocks as files have them.
    pub fn write_values(blocks: &[u8], values: &mut [f32]) {
        let (blocks, _) = blocks.as_chunks::<{ Self::BYTES }>();
        for ([low, high, rest @ ..], values) in blocks.iter().zip(values.chunks_exact_mut(BLOCK)) {
            let scale = f16::from_le_bytes([*low, *high]).to_f32();
            for (value, byte) in values.iter_mut().zip(rest) {
                *value = scale * f32::from(byte.cast_signed());
            }
        }
    }

    /// A block as files have it: its scale, then its integers. Kernels know none below -127, so
    /// a block that has one is rounded again.
    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let [low, high, rest @ ..] = bytes;
        let scale = f16::from_le_bytes([*low, *high]);
        let values = rest.map(u8::cast_signed);
        // Looks at all values even when one is found: vectors of them are compared at once.
        let found = rest.iter().fold(false, |found, byte| {
            found | (*byte == i8::MIN.cast_unsigned())
        });
        if found {
            return Self::new(&values.map(|value| scale.to_f32() * f32::from(value)));
        }
        Self { scale, values }
    }
}

/// The scale of a block of weights whose largest absolute value is known.
fn weight_scale(largest: f32) -> f16 {
    f16::from_f32(largest / LARGEST).min(f16::MAX)
}

/// What to multiply values by to get integers.
fn inverse(scale: f32) -> f32 {
    if scale < f32::MIN_POSITIVE {
        0.0
    } else {
        scale.recip()
    }
}

impl QuantizedPanels {
    /// `weight` (outputs, inputs) and the bias of each output.
    pub fn new(sizes: [usize; 2], weight: &[f32], bias: Option<&[f32]>) -> Self {
        let mut panels = Self::zeros(sizes, bias);
        let inputs = panels.inputs;
        panels.each().par_bridge().for_each(|mut panel| {
            let rows = panel.outputs.start * inputs..panel.outputs.end * inputs;
            panel.fill_rounded(&weight[rows], inputs);
        });
        panels
    }

    /// The same for a matrix that is read row by row, a panel at a time: `read` fills memory with
    /// the values that begin at some element.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn read(
        sizes: [usize; 2],
        bias: Option<&[f32]>,
        read: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<Self> {
        let mut panels = Self::zeros(sizes, bias);
        let inputs = panels.inputs;
        let fill = |rows: &mut Vec<f32>, mut panel: Panel| {
            rows.resize(panel.outputs.len() * inputs, 0.0);
            read(panel.outputs.start * inputs, rows)?;
            panel.fill_rounded(rows, inputs);
            Ok(())
        };
        fill_in_order(panels.each(), fill)?;
        Ok(panels)
    }

    /// The same for a matrix that is stored in blocks of `q8_0`, of which each output has whole ones:
    /// `read` fills memory with the blocks that begin at some byte.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn read_blocks(
        sizes: [usize; 2],
        bias: Option<&[f32]>,
        read: impl Fn(usize, &mut [u8]) -> Result<()> + Sync,
    ) -> Result<Self> {
        let mut panels = Self::zeros(sizes, bias);
        let blocks = panels.blocks();
        let fill = |rows: &mut Vec<u8>, mut panel: Panel| {
            let of_row = blocks * Q8Block::BYTES;
            rows.resize(panel.outputs.len() * of_row, 0);
            read(panel.outputs.start * of_row, rows)?;
            panel.fill_blocks(rows, blocks);
            Ok(())
        };
        fill_in_order(panels.each(), fill)?;
        Ok(panels)
    }

    /// A matrix of zeros.
    fn zeros([outputs, inputs]: [usize; 2], bias: Option<&[f32]>) -> Self {
        let panels = outputs.div_ceil(WIDTH);
        let blocks = inputs.div_ceil(BLOCK);
        let mut values = vec![0; panels * blocks * BLOCK * WIDTH];
        advise_large_pages(&mut values);
        let mut padded = bias.unwrap_or(&[]).to_vec();
        padded.resize(panels * WIDTH, 0.0);
        Self {
            values,
            scales: vec![f16::ZERO; panels * blocks * WIDTH],
            bias: padded,
            inputs,
            outputs,
        }
    }

    /// Each panel.
    fn each(&mut self) -> impl Iterator<Item = Panel<'_>> {
        let outputs = self.outputs;
        let places = (self.blocks() * WIDTH).max(1);
        self.values
            .chunks_exact_mut(places * BLOCK)
            .zip(self.scales.chunks_exact_mut(places))
            .enumerate()
            .map(move |(i, (values, scales))| Panel {
                outputs: i * WIDTH..outputs.min((i + 1) * WIDTH),
                values,
                scales,
            })
    }

    /// Bytes that weights of this shape (outputs, inputs) take with their scales and bias.
    pub fn bytes_for([outputs, inputs]: [usize; 2]) -> u64 {
        let columns = outputs.div_ceil(WIDTH) * WIDTH;
        let of_block = BLOCK + size_of::<f16>();
        (columns * (inputs.div_ceil(BLOCK) * of_block + size_of::<f32>())) as u64
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.outputs.div_ceil(WIDTH)
    }

    /// The outputs that some panels are for.
    pub fn columns(&self, panels: &Range<usize>) -> Range<usize> {
        panels.start * WIDTH..self.outputs.min(panels.end * WIDTH)
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

/// A panel that is filled.
struct Panel<'a> {
    outputs: Range<usize>,
    values: &'a mut [i8],  // (blocks, QUADS, WIDTH, QUAD)
    scales: &'a mut [f16], // (blocks, WIDTH)
}

impl Panel<'_> {
    /// Rounds `rows` of `inputs` values, one per output.
    fn fill_rounded(&mut self, rows: &[f32], inputs: usize) {
        for block in 0..inputs.div_ceil(BLOCK) {
            let within = block * BLOCK..inputs.min((block + 1) * BLOCK);
            for (place, row) in rows.chunks_exact(inputs).enumerate() {
                self.put(block, place, &Q8Block::new(&row[within.clone()]));
            }
        }
    }

    /// Takes `rows` of `blocks` stored blocks, one per output.
    fn fill_blocks(&mut self, rows: &[u8], blocks: usize) {
        let (stored, _) = rows.as_chunks::<{ Q8Block::BYTES }>();
        for block in 0..blocks {
            for (place, row) in stored.chunks_exact(blocks).enumerate() {
                self.put(block, place, &Q8Block::from_bytes(&row[block]));
            }
        }
    }

    fn put(&mut self, block: usize, place: usize, quantised: &Q8Block) {
        self.scales[block * WIDTH + place] = quantised.scale;
        let (quads, _) = quantised.values.as_chunks::<QUAD>();
        for (quad, values) in quads.iter().enumerate() {
            let at = ((block * QUADS + quad) * WIDTH + place) * QUAD;
            self.values[at..at + QUAD].copy_from_slice(values);
        }
    }
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
fn row_stride<D: Dot>(blocks: usize) -> usize {
    bytes_apart(blocks * QUADS * D::QUAD_BYTES)
}

struct Quantize<'a> {
    values: &'a [f32],
    width: usize,
    rows: &'a mut QuantizedRows,
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
        rows.sums.clear();
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
                for (quad, to) in block
                    .chunks_exact(QUAD)
                    .zip(bytes.chunks_exact_mut(D::QUAD_BYTES))
                {
                    D::write_quad([quad[0], quad[1], quad[2], quad[3]], to);
                }
                rows.scales.push(scale);
                rows.sums
                    .push(block.iter().map(|value| i32::from(*value)).sum());
            }
        }
    }
}

struct Product<'a> {
    panels: &'a QuantizedPanels,
    chosen: Range<usize>,
    rows: &'a QuantizedRows,
    which: Range<usize>,
    out: &'a mut [f32],
    stride: usize,
}

impl Product<'_> {
    /// The bounds that [`tile`] relies on.
    fn check<D: Dot>(&self) {
        let panels = self.panels;
        let blocks = panels.blocks();
        assert!(self.chosen.end <= panels.count(), "the panels of a product");
        let places = panels.count() * blocks * WIDTH;
        assert!(
            panels.values.len() == places * BLOCK
                && panels.scales.len() == places
                && panels.bias.len() == panels.count() * WIDTH,
            "the weights of a product"
        );
        let rows = self.rows;
        assert!(
            self.which.end <= rows.count
                && rows.bytes.len() == rows.count * row_stride::<D>(blocks),
            "the rows of a product"
        );
        assert_eq!(
            [rows.scales.len(), rows.sums.len()],
            [rows.count * blocks; 2],
            "the scales of a product's rows"
        );
        let width = panels.columns(&self.chosen).len();
        assert!(
            (self.which.len() - 1) * self.stride + width <= self.out.len(),
            "the results of a product"
        );
    }
}

impl DotKernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(mut self, simd: D::Detected) {
        if self.which.is_empty() || self.chosen.is_empty() {
            return;
        }
        self.check::<D>();
        for panel in self.chosen.clone() {
            let columns = self.panels.columns(&(panel..panel + 1)).len();
            let tiles = self.which.len().div_ceil(D::TILE_ROWS);
            let mut first = self.which.start;
            for i in 0..tiles {
                // Tiles of about the same height
                let rows = (self.which.end - first).div_ceil(tiles - i);
                let mut column = 0;
                while column < columns {
                    let place = Place {
                        panel,
                        first,
                        columns: column..columns,
                    };
                    if D::TILE_VECTORS == 2 && columns - column > D::Lanes::COUNT {
                        tile_of_height::<D, 2>(simd, &mut self, place, rows);
                    } else {
                        tile_of_height::<D, 1>(simd, &mut self, place, rows);
                    }
                    column += D::TILE_VECTORS * D::Lanes::COUNT;
                }
                first += rows;
            }
        }
    }
}

/// The first row of a tile, its panel, and the columns of it from the tile's first on.
struct Place {
    panel: usize,
    first: usize,
    columns: Range<usize>,
}

/// [`tile`] for a height that is known only at run time.
#[inline(always)]
fn tile_of_height<D: Dot, const V: usize>(
    simd: D::Detected,
    product: &mut Product,
    place: Place,
    rows: usize,
) {
    match rows {
        1 => tile::<D, 1, V>(simd, product, place),
        2 => tile::<D, 2, V>(simd, product, place),
        3 => tile::<D, 3, V>(simd, product, place),
        4 => tile::<D, 4, V>(simd, product, place),
        5 if D::TILE_ROWS > 4 => tile::<D, 5, V>(simd, product, place),
        6 if D::TILE_ROWS > 5 => tile::<D, 6, V>(simd, product, place),
        7 if D::TILE_ROWS > 6 => tile::<D, 7, V>(simd, product, place),
        8 if D::TILE_ROWS > 6 => tile::<D, 8, V>(simd, product, place),
        9 if D::TILE_ROWS > 6 => tile::<D, 9, V>(simd, product, place),
        10 if D::TILE_ROWS > 6 => tile::<D, 10, V>(simd, product, place),
        11 if D::TILE_ROWS > 6 => tile::<D, 11, V>(simd, product, place),
        12 if D::TILE_ROWS > 6 => tile::<D, 12, V>(simd, product, place),
        _ => unreachable!("tiles are at most as high as the machine's registers allow"),
    }
}

/// `R` rows times `V` vectors of columns, of which those inside the place's columns are kept.
#[inline(always)]
fn tile<D: Dot, const R: usize, const V: usize>(
    simd: D::Detected,
    product: &mut Product,
    place: Place,
) {
    let Product { panels, rows, .. } = product;
    let lanes = D::lanes(simd);
    let blocks = panels.blocks();
    let Place {
        panel,
        first,
        columns,
    } = place;
    let bias = &panels.bias[panel * WIDTH + columns.start..];
    let mut totals = [[D::Lanes::splat(lanes, 0.0); V]; R];
    for totals in &mut totals {
        for (v, total) in totals.iter_mut().enumerate() {
            *total = D::Lanes::load(lanes, &bias[v * D::Lanes::COUNT..]);
        }
    }
    let row_bytes = row_stride::<D>(blocks);
    let x: [*const u8; R] =
        std::array::from_fn(|row| rows.bytes[(first + row) * row_bytes..].as_ptr());
    let mut weights =
        panels.values[(panel * blocks * BLOCK * WIDTH + columns.start * QUAD)..].as_ptr();
    let mut scales = panels.scales[panel * blocks * WIDTH + columns.start..].as_ptr();
    for block in 0..blocks {
        let mut sums: [[D::Sums; V]; R] = std::array::from_fn(|row| {
            [D::begin(simd, rows.sums[(first + row) * blocks + block]); V]
        });
        for quad in block * QUADS..(block + 1) * QUADS {
            // SAFETY: `check` has seen that a panel has WIDTH values for each input, and
            // `columns.start + V * COUNT <= WIDTH`.
            let mut vectors = [unsafe { D::weights(simd, weights) }; V];
            for (v, vector) in vectors.iter_mut().enumerate().skip(1) {
                let at = weights.wrapping_add(v * D::Lanes::COUNT * QUAD);
                // SAFETY: the same.
                *vector = unsafe { D::weights(simd, at) };
            }
            for (x, sums) in x.iter().zip(&mut sums) {
                // SAFETY: `check` has seen that every row has all its quads.
                let row = unsafe { D::row(simd, x.wrapping_add(quad * D::QUAD_BYTES)) };
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = D::add(simd, *sum, vector, row);
                }
            }
            weights = weights.wrapping_add(WIDTH * QUAD);
        }
        for v in 0..V {
            // SAFETY: `check` has seen that a panel has WIDTH scales for each block.
            let scale = unsafe { D::scales(simd, scales.wrapping_add(v * D::Lanes::COUNT)) };
            for (row, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
                let row_scale = D::Lanes::splat(lanes, rows.scales[(first + row) * blocks + block]);
                let sum = D::sums(simd, sums[v]).mul(row_scale);
                totals[v] = sum.mul_add(scale, totals[v]);
            }
        }
        scales = scales.wrapping_add(WIDTH);
    }
    let start = (panel - product.chosen.start) * WIDTH + columns.start;
    for (row, totals) in totals.into_iter().enumerate() {
        let at = (first + row - product.which.start) * product.stride + start;
        for (total, to) in totals
            .into_iter()
            .zip(product.out[at..at + columns.len()].chunks_mut(D::Lanes::COUNT))
        {
            total.store_rest(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::cpu::simd::in_all_dot_versions;

    /// Quantises rows and multiplies them by all panels.
    struct Whole<'a> {
        panels: &'a QuantizedPanels,
        values: &'a [f32],
        which: Range<usize>,
    }

    impl DotKernel for Whole<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<D: Dot>(self, simd: D::Detected) -> Vec<f32> {
            let mut rows = QuantizedRows::default();
            Quantize {
                values: self.values,
                width: self.panels.inputs,
                rows: &mut rows,
            }
            .run::<D>(simd);
            let stride = self.panels.outputs + 1;
            let mut out = vec![7.0; self.which.len() * stride];
            Product {
                panels: self.panels,
                chosen: 0..self.panels.count(),
                rows: &rows,
                which: self.which,
                out: &mut out,
                stride,
            }
            .run::<D>(simd);
            out
        }
    }

    /// Numbers that have an uneven distribution.
    fn numbers(count: usize, step: f32) -> Vec<f32> {
        (0..count)
            .map(|i| (i as f32 * step).sin().powi(3))
            .collect()
    }

    /// A block as it is kept, in integers and a scale.
    fn quantised(block: &[f32], scale: f32) -> Vec<f64> {
        let whole = |value: &f32| f64::from((value * inverse(scale)).round_ties_even());
        block.iter().map(whole).collect()
    }

    /// The definition, in f64.
    fn expected(row: &[f32], weight: &[f32], bias: f32) -> f64 {
        let products = row
            .chunks(BLOCK)
            .zip(weight.chunks(BLOCK))
            .map(|(row, weight)| {
                let row_scale = largest(row) / LARGEST;
                let scale = weight_scale(largest(weight)).to_f32();
                let weight = quantised(weight, scale);
                let terms = quantised(row, row_scale).into_iter().zip(weight);
                let sum: f64 = terms.map(|(a, b)| a * b.clamp(-127.0, 127.0)).sum();
                sum * f64::from(row_scale) * f64::from(scale)
            });
        products.sum::<f64>() + f64::from(bias)
    }

    #[test]
    fn products_match_the_definition_in_every_version() {
        for [count, inputs, outputs] in [
            [1, 1, 1],
            [3, 5, 17],
            [13, 33, 33],
            [29, 96, 70],
            [7, 2500, 40],
            [12, 64, 32],
        ] {
            let weight = numbers(inputs * outputs, 0.37);
            let bias = numbers(outputs, 0.9);
            let values = numbers(count * inputs, 1.73);
            let panels = QuantizedPanels::new([outputs, inputs], &weight, Some(&bias));
            for found in in_all_dot_versions(|| Whole {
                panels: &panels,
                values: &values,
                which: 0..count,
            }) {
                for (row, found) in found.chunks(outputs + 1).enumerate() {
                    let row = &values[row * inputs..][..inputs];
                    for output in 0..outputs {
                        let weight = &weight[output * inputs..][..inputs];
                        let expected = expected(row, weight, bias[output]);
                        let error = (f64::from(found[output]) - expected).abs();
                        assert!(error < 2e-5, "{count} {inputs} {outputs}: {error}");
                    }
                    assert_eq!(found[outputs], 7.0, "what lies beside the results");
                }
            }
        }
    }

    #[test]
    fn all_versions_but_the_portable_one_agree_to_the_bit() {
        let panels = QuantizedPanels::new([70, 200], &numbers(70 * 200, 0.37), None);
        let values = numbers(9 * 200, 1.73);
        let mut found = in_all_dot_versions(|| Whole {
            panels: &panels,
            values: &values,
            which: 0..9,
        });
        let portable = found.pop().unwrap();
        for other in &found {
            assert_eq!(other, &found[0]);
            let apart = other.iter().zip(&portable).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 1e-5);
        }
    }

    #[test]
    fn rows_are_batch_invariant() {
        let panels = QuantizedPanels::new([40, 50], &numbers(40 * 50, 0.37), None);
        let values = numbers(30 * 50, 1.73);
        let run = |which: Range<usize>| {
            in_all_dot_versions(|| Whole {
                panels: &panels,
                values: &values,
                which: which.clone(),
            })
        };
        for (version, all) in run(0..30).into_iter().enumerate() {
            for row in 0..30 {
                assert_eq!(run(row..row + 1)[version], all[row * 41..][..41]);
            }
        }
    }

    #[test]
    fn a_large_value_coarsens_only_its_own_block() {
        let mut row = numbers(96, 1.73);
        row[40] = 1e4;
        let mut identity = vec![0.0; 96 * 96];
        identity
            .iter_mut()
            .step_by(97)
            .for_each(|value| *value = 1.0);
        let panels = QuantizedPanels::new([96, 96], &identity, None);
        for found in in_all_dot_versions(|| Whole {
            panels: &panels,
            values: &row,
            which: 0..1,
        }) {
            for i in (0..32).chain(64..96) {
                assert!((found[i] - row[i]).abs() < 0.005, "{i}");
            }
            assert!((found[40] - 1e4).abs() < 1.0);
        }
    }

    #[test]
    fn quantising_again_changes_nothing() {
        let weight = numbers(64 * 96, 0.37);
        let once = QuantizedPanels::new([64, 96], &weight, None);
        let mut values = vec![0.0; 64 * 96];
        for (i, value) in values.iter_mut().enumerate() {
            let (output, input) = (i / 96, i % 96);
            let (panel, place) = (output / WIDTH, output % WIDTH);
            let block = panel * 3 + input / BLOCK;
            let quad = block * QUADS + input % BLOCK / QUAD;
            let whole = once.values[(quad * WIDTH + place) * QUAD + input % QUAD];
            *value = f32::from(whole) * once.scales[block * WIDTH + place].to_f32();
        }
        let again = QuantizedPanels::new([64, 96], &values, None);
        assert!(again.values == once.values && again.scales == once.scales);
    }

    #[test]
    fn blocks_of_files_are_kept_but_for_numbers_that_no_kernel_knows() {
        let weight = numbers(64 * 96, 0.37);
        let mut bytes = vec![];
        for values in weight.chunks(BLOCK) {
            let block = Q8Block::new(values);
            bytes.extend(block.scale.to_le_bytes());
            bytes.extend(block.values.map(i8::cast_unsigned));
        }
        let expected = QuantizedPanels::new([64, 96], &weight, None);
        let read = |first: usize, part: &mut [u8]| {
            part.copy_from_slice(&bytes[first..][..part.len()]);
            Ok(())
        };
        let found = QuantizedPanels::read_blocks([64, 96], None, read).unwrap();
        assert!(found.values == expected.values && found.scales == expected.scales);

        let (blocks, _) = bytes.as_chunks_mut::<{ Q8Block::BYTES }>();
        blocks[4][9] = i8::MIN.cast_unsigned();
        let scale = f16::from_le_bytes([blocks[4][0], blocks[4][1]]).to_f32();
        let block = Q8Block::from_bytes(&blocks[4]);
        assert_eq!(block.values[7], -127);
        assert!((block.scale.to_f32() * -127.0 - scale * -128.0).abs() < 1e-3 * scale * 128.0);
    }

    #[test]
    fn unusual_values_neither_panic_nor_hide() {
        let weight = [vec![1e30; 32], vec![1e-30; 32], vec![0.0; 32]].concat();
        let panels = QuantizedPanels::new([3, 32], &weight, None);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = vec![1.0; 32];
            row[3] = value;
            for found in in_all_dot_versions(|| Whole {
                panels: &panels,
                values: &row,
                which: 0..1,
            }) {
                assert!(!found[0].is_finite());
            }
        }
        for found in in_all_dot_versions(|| Whole {
            panels: &panels,
            values: &[1.0; 32],
            which: 0..1,
        }) {
            assert!(found[0].is_finite() && found[1].abs() < 1e-6 && found[2] == 0.0);
        }
    }
}
