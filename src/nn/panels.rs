//! Products with weights that are known beforehand: the weights are laid out once in panels of 32 columns, and tiles of
//! rows run over them with all their sums in registers.
//!
//! Each sum begins with the bias and takes its terms in the order of the weights, whatever rows stand beside it, so that
//! a row's result has the same bits in any company.

use super::simd::{Kernel, Lanes, dispatch};

/// Columns of a panel: two of the widest vectors.
const WIDTH: usize = 32;

/// A matrix of `taps * inputs` rows and `outputs` columns with a bias. A convolution has a tap for each place of its
/// kernel, a linear layer has one.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    values: Vec<f32>, // (panels, taps, inputs, WIDTH), zero beyond the last output
    bias: Vec<f32>,   // (panels, WIDTH)
    taps: usize,
    inputs: usize,
    outputs: usize,
}

/// Where the rows of a product lie: row `i` has its values for tap `t` from `first + i * stride + taps[t]` on.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub values: &'a [f32],
    pub first: usize,
    pub stride: usize,
    pub taps: &'a [usize],
    pub count: usize,
}

/// Where the results go: row `i` from `first + i * stride` on.
pub(crate) struct Results<'a> {
    pub values: &'a mut [f32],
    pub first: usize,
    pub stride: usize,
    /// Whether the results are added to what is there.
    pub add: bool,
}

impl Panels {
    /// `weight(output, tap, input)` and the bias of each output.
    pub fn new(
        [outputs, taps, inputs]: [usize; 3],
        weight: impl Fn(usize, usize, usize) -> f32,
        bias: Option<&[f32]>,
    ) -> Self {
        let panels = outputs.div_ceil(WIDTH);
        let mut values = vec![0.0; panels * taps * inputs * WIDTH];
        for (i, row) in values.chunks_exact_mut(WIDTH).enumerate() {
            let (panel, tap, input) = (i / (taps * inputs), i / inputs % taps, i % inputs);
            for (output, value) in (panel * WIDTH..outputs).zip(row) {
                *value = weight(output, tap, input);
            }
        }
        let mut padded = bias.unwrap_or(&[]).to_vec();
        padded.resize(panels * WIDTH, 0.0);
        Self { values, bias: padded, taps, inputs, outputs }
    }

    /// One tap whose matrix is given by rows of `outputs` values in several blocks of rows, each `stride` apart; no bias.
    pub fn from_rows<'a>(blocks: impl Iterator<Item = &'a [f32]> + Clone, stride: usize, outputs: usize) -> Self {
        let rows = || blocks.clone().flat_map(|block| block.chunks(stride).map(|row| &row[..outputs]));
        let (inputs, panels) = (rows().count(), outputs.div_ceil(WIDTH));
        let mut values = vec![0.0; panels * inputs * WIDTH];
        for (panel, values) in values.chunks_exact_mut((inputs * WIDTH).max(1)).enumerate() {
            let columns = panel * WIDTH..outputs.min((panel + 1) * WIDTH);
            for (to, row) in values.chunks_exact_mut(WIDTH).zip(rows()) {
                to[..columns.len()].copy_from_slice(&row[columns.clone()]);
            }
        }
        Self { values, bias: vec![0.0; panels * WIDTH], taps: 1, inputs, outputs }
    }

    /// One tap whose matrix is given by columns of `inputs` values in several blocks, each `stride` apart; no bias.
    pub fn from_columns<'a>(blocks: impl Iterator<Item = &'a [f32]> + Clone, stride: usize, inputs: usize) -> Self {
        let columns = blocks.flat_map(|block| block.chunks(stride).map(|column| &column[..inputs]));
        let outputs = columns.clone().count();
        let panels = outputs.div_ceil(WIDTH);
        let mut values = vec![0.0; panels * inputs * WIDTH];
        for (output, column) in columns.enumerate() {
            let to = &mut values[output / WIDTH * inputs * WIDTH + output % WIDTH..];
            to.iter_mut().step_by(WIDTH).zip(column).for_each(|(to, v)| *to = *v);
        }
        Self { values, bias: vec![0.0; panels * WIDTH], taps: 1, inputs, outputs }
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.outputs.div_ceil(WIDTH)
    }

    /// Values that go out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Values that come in, for each tap.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Multiplies rows by one panel, whose columns go to their places in the results.
    ///
    /// # Panics
    /// When rows or results reach beyond their slices.
    pub fn multiply(&self, panel: usize, rows: Rows, results: Results) {
        dispatch(Product { panels: self, panel, rows, results });
    }
}

struct Product<'a> {
    panels: &'a Panels,
    panel: usize,
    rows: Rows<'a>,
    results: Results<'a>,
}

impl Product<'_> {
    /// The bounds that [`tile`] relies on.
    fn check(&self) {
        let Self { panels, panel, rows, results } = self;
        assert!(*panel < panels.count() && rows.taps.len() == panels.taps, "the taps of a product");
        let last = rows.count - 1;
        let furthest = rows.taps.iter().max().map_or(0, |tap| rows.first + last * rows.stride + tap + panels.inputs);
        assert!(furthest <= rows.values.len(), "the rows of a product");
        assert!(results.first + last * results.stride + panels.outputs <= results.values.len(), "results of a product");
    }
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        if self.rows.count == 0 {
            return;
        }
        self.check();
        let columns = (self.panels.outputs - self.panel * WIDTH).min(WIDTH);
        let tiles = self.rows.count.div_ceil(L::TILE_ROWS);
        let mut first = 0;
        for i in 0..tiles {
            let rows = (self.rows.count - first).div_ceil(tiles - i); // tiles of about the same height
            let mut column = 0;
            while column < columns {
                if L::TILE_VECTORS == 2 && columns - column > L::COUNT {
                    tile_of::<L, 2>(&mut self, first, rows, column, columns);
                } else {
                    tile_of::<L, 1>(&mut self, first, rows, column, columns);
                }
                column += L::TILE_VECTORS * L::COUNT;
            }
            first += rows;
        }
    }
}

/// [`tile`] for a height that is known only now.
#[inline(always)]
fn tile_of<L: Lanes, const V: usize>(product: &mut Product, first: usize, rows: usize, column: usize, columns: usize) {
    match rows {
        1 => tile::<L, 1, V>(product, first, column, columns),
        2 => tile::<L, 2, V>(product, first, column, columns),
        3 => tile::<L, 3, V>(product, first, column, columns),
        4 => tile::<L, 4, V>(product, first, column, columns),
        5 if L::TILE_ROWS > 4 => tile::<L, 5, V>(product, first, column, columns),
        6 if L::TILE_ROWS > 4 => tile::<L, 6, V>(product, first, column, columns),
        7 if L::TILE_ROWS > 6 => tile::<L, 7, V>(product, first, column, columns),
        8 if L::TILE_ROWS > 6 => tile::<L, 8, V>(product, first, column, columns),
        9 if L::TILE_ROWS > 6 => tile::<L, 9, V>(product, first, column, columns),
        10 if L::TILE_ROWS > 6 => tile::<L, 10, V>(product, first, column, columns),
        11 if L::TILE_ROWS > 6 => tile::<L, 11, V>(product, first, column, columns),
        12 if L::TILE_ROWS > 6 => tile::<L, 12, V>(product, first, column, columns),
        _ => unreachable!("tiles are at most as high as the machine's registers allow"),
    }
}

/// `R` rows from `first` on times `V` vectors of columns from `column` on, of which those before `columns` are kept.
#[inline(always)]
fn tile<L: Lanes, const R: usize, const V: usize>(product: &mut Product, first: usize, column: usize, columns: usize) {
    let Product { panels, panel, rows, results } = product;
    let mut sums = [[L::splat(0.0); V]; R];
    let bias = &panels.bias[*panel * WIDTH + column..];
    for sums in &mut sums {
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = L::load(&bias[v * L::COUNT..]);
        }
    }
    let x = rows.values.as_ptr().wrapping_add(rows.first + first * rows.stride);
    let mut weight = panels.values[*panel * panels.taps * panels.inputs * WIDTH + column..].as_ptr();
    for tap in rows.taps {
        let x: [*const f32; R] = std::array::from_fn(|row| x.wrapping_add(row * rows.stride + tap));
        for input in 0..panels.inputs {
            let mut weights = [L::splat(0.0); V];
            for (v, weights) in weights.iter_mut().enumerate() {
                // SAFETY: a panel has WIDTH values for each tap and input, and `column + V * COUNT <= WIDTH`.
                *weights = unsafe { L::load_at(weight.wrapping_add(v * L::COUNT)) };
            }
            for (x, sums) in x.iter().zip(&mut sums) {
                // SAFETY: `check` has seen that the last row's last tap ends inside the slice.
                let value = L::splat(unsafe { *x.wrapping_add(input) });
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = value.mul_add(weights, *sum);
                }
            }
            weight = weight.wrapping_add(WIDTH);
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        let at = results.first + (first + row) * results.stride + *panel * WIDTH;
        for (v, sum) in sums.into_iter().enumerate() {
            let from = column + v * L::COUNT;
            let to = &mut results.values[at + from..at + columns.min(from + L::COUNT)];
            keep(sum, to, results.add);
        }
    }
}

/// Writes or adds as many values as there is room for.
#[inline(always)]
fn keep<L: Lanes>(sum: L, to: &mut [f32], add: bool) {
    match (to.len() == L::COUNT, add) {
        (true, false) => sum.store(to),
        (true, true) => L::load(to).add(sum).store(to),
        (false, false) => sum.store_some(to),
        (false, true) => L::load_some(to, 0.0).add(sum).store_some(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::simd::in_all_versions;

    struct Whole<'a>(&'a Panels, Rows<'a>, usize);

    impl Kernel for Whole<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<L: Lanes>(self) -> Vec<f32> {
            let Self(panels, rows, stride) = self;
            let mut out = vec![1.0; rows.count * stride];
            for panel in 0..panels.count() {
                let results = Results { values: &mut out, first: 0, stride, add: true };
                Product { panels, panel, rows, results }.run::<L>();
            }
            out
        }
    }

    #[test]
    fn products_match_the_definition_for_odd_shapes() {
        for (count, taps, inputs, outputs) in
            [(1, 1, 1, 1), (3, 2, 5, 17), (13, 1, 33, 33), (29, 4, 3, 70), (50, 9, 8, 3)]
        {
            let weight = |o: usize, t: usize, i: usize| ((o * 31 + t * 7 + i * 3) as f32).sin();
            let bias: Vec<f32> = (0..outputs).map(|o| o as f32 * 0.1).collect();
            let panels = Panels::new([outputs, taps, inputs], weight, Some(&bias));
            let values: Vec<f32> = (0..(count + taps) * inputs).map(|i| (i as f32 * 0.73).cos()).collect();
            let offsets: Vec<usize> = (0..taps).map(|t| t * inputs).collect();
            let rows = Rows { values: &values, first: 0, stride: inputs, taps: &offsets, count };
            for found in in_all_versions(|| Whole(&panels, rows, outputs + 2)) {
                for (i, found) in found.iter().enumerate() {
                    let (row, o) = (i / (outputs + 2), i % (outputs + 2));
                    let term = |j: usize| values[row * inputs + j] * weight(o, j / inputs, j % inputs);
                    let sum = (0..taps * inputs).map(term).sum::<f32>();
                    let expected = if o < outputs { 1.0 + bias[o] + sum } else { 1.0 };
                    assert!((found - expected).abs() < 1e-4, "{count} {taps} {inputs} {outputs}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn blocks_of_rows_and_of_columns_make_the_same_matrix() {
        let values: Vec<f32> = (0..45 * 7).map(|i| (i as f32).sin()).collect();
        let blocks = [&values[..10 * 7], &values[10 * 7..44 * 7 + 5]];
        let rows = Panels::from_rows(blocks.into_iter(), 7, 5);
        let expected = Panels::new([5, 1, 45], |o, _, i| values[i * 7 + o], None);
        assert_eq!(rows.values, expected.values);
        let columns = Panels::from_columns(blocks.into_iter(), 7, 5);
        let expected = Panels::new([45, 1, 5], |o, _, i| values[o * 7 + i], None);
        assert_eq!(columns.values, expected.values);
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        let panels = Panels::new([40, 1, 50], |o, _, i| ((o * 50 + i) as f32).sin(), None);
        let values: Vec<f32> = (0..30 * 50).map(|i| (i as f32 * 0.37).sin()).collect();
        let run = |first: usize, count: usize| {
            let rows = Rows { values: &values, first: first * 50, stride: 50, taps: &[0], count };
            in_all_versions(|| Whole(&panels, rows, 40))
        };
        for (version, all) in run(0, 30).into_iter().enumerate() {
            for row in 0..30 {
                assert_eq!(run(row, 1)[version], all[row * 40..][..40]);
            }
        }
    }
}
