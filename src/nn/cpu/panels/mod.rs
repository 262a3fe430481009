//! Products with weights that are known beforehand: the weights are laid out once in panels of 32
//! columns, and tiles of rows run over them with all their sums in registers.
//!
//! Each sum begins with the bias and takes its terms in the order of the weights, independently of
//! the other rows, so the results are batch-invariant to the bit. In bf16 weights and
//! rows lie in pairs of inputs, which machines that can multiply and add at once.

use std::{
    cell::RefCell,
    mem,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use rayon::prelude::*;

use super::{
    memory::advise_large_pages,
    simd::{Kernel, Lanes, dispatch},
    stored::Stored,
};

/// Columns of a panel: two of the widest vectors.
pub(super) const WIDTH: usize = 32;

/// Bytes of a panel that are used up before the next, which a core's cache keeps while tiles run
/// over them.
const BLOCK: usize = 128 << 10;

/// Rows from which on a conversion of the weights to f32 pays.
const MANY_ROWS: usize = 12;

thread_local! {
    /// Memory for rows and a panel in f32.
    static WIDENED: RefCell<(Vec<f32>, Vec<f32>)> = RefCell::default();
}

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

/// Fills panels in parallel. Each thread takes the next panel, so that a file is read from the front to
/// the end, and has a buffer of its own.
///
/// # Errors
/// That of the first panel that fails. Later panels are then left out.
pub(super) fn fill_in_order<P: Send, B: Send>(
    panels: impl Iterator<Item = P> + Send,
    fill: impl Fn(&mut Vec<B>, P) -> crate::Result<()> + Sync,
) -> crate::Result<()> {
    let lowest = AtomicUsize::new(usize::MAX);
    let fill = |buffer: &mut Vec<B>, (i, panel)| {
        if i > lowest.load(Ordering::Relaxed) {
            return None;
        }
        let error = fill(buffer, panel).err()?;
        lowest.fetch_min(i, Ordering::Relaxed);
        Some((i, error))
    };
    let failed = panels.enumerate().par_bridge().map_init(Vec::new, fill);
    match failed.flatten_iter().min_by_key(|(i, _)| *i) {
        None => Ok(()),
        Some((_, error)) => Err(error),
    }
}

/// Writes the weights of one tap to a panel for some outputs. Of each output the inputs of a cache
/// line are read together.
fn fill_tap<T: Stored>(
    values: &mut [T],
    outputs: Range<usize>,
    inputs: usize,
    weight: impl Fn(usize, usize) -> f32,
) {
    const LINE: usize = 64 / size_of::<f32>();
    for first in (0..inputs).step_by(LINE) {
        let beyond = inputs.min(first + LINE);
        for (column, output) in outputs.clone().enumerate() {
            for input in first..beyond {
                let place = (input / T::STEP * WIDTH + column) * T::STEP + input % T::STEP;
                values[place] = T::rounded(weight(output, input));
            }
        }
    }
}

/// Writes a tap whose weights are given by the rows of its outputs. A cache line of each row is
/// rounded before it is spread.
fn fill_rows<T: Stored>(values: &mut [T], rows: &[&[f32]], inputs: usize) {
    const LINE: usize = 64 / size_of::<f32>();
    let mut lines = [[T::default(); LINE]; WIDTH];
    for first in (0..inputs).step_by(LINE) {
        let part = first..inputs.min(first + LINE);
        for (line, row) in lines.iter_mut().zip(rows) {
            let row = &row[part.clone()];
            line[row.len()..].fill(T::default());
            for (to, from) in line.iter_mut().zip(row) {
                *to = T::rounded(*from);
            }
        }
        let steps = values[first * WIDTH..].chunks_exact_mut(WIDTH * T::STEP);
        for (step, places) in steps.take(LINE / T::STEP).enumerate() {
            let places = places.chunks_exact_mut(T::STEP);
            for (place, line) in places.zip(&lines[..rows.len()]) {
                place.copy_from_slice(&line[step * T::STEP..][..T::STEP]);
            }
        }
    }
}

impl<T: Stored> Panels<T> {
    /// One tap of a matrix (outputs, inputs), row by row, and the bias of each output.
    pub fn from_matrix(
        [outputs, inputs]: [usize; 2],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let mut panels = Self::zeros([outputs, 1, inputs], bias);
        panels.each().par_bridge().for_each(|(outputs, values)| {
            let row = |output: usize| &weight[output * inputs..][..inputs];
            let rows: Vec<&[f32]> = outputs.map(row).collect();
            fill_rows(values, &rows, inputs);
        });
        panels
    }

    /// The same for a matrix that is read row by row, a panel at a time: `read` fills memory with
    /// the values that begin at some element.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn read(
        [outputs, inputs]: [usize; 2],
        bias: Option<&[f32]>,
        read: impl Fn(usize, &mut [f32]) -> crate::Result<()> + Sync,
    ) -> crate::Result<Self> {
        let mut panels = Self::zeros([outputs, 1, inputs], bias);
        let fill = |rows: &mut Vec<f32>, (outputs, values): (Range<usize>, &mut [T])| {
            rows.resize(outputs.len() * inputs, 0.0);
            read(outputs.start * inputs, rows)?;
            let rows: Vec<&[f32]> = rows.chunks_exact(inputs.max(1)).collect();
            fill_rows(values, &rows, inputs);
            Ok(())
        };
        fill_in_order(panels.each(), fill)?;
        Ok(panels)
    }

    /// `weight(output, tap, input)` and the bias of each output.
    pub fn new(
        [outputs, taps, inputs]: [usize; 3],
        weight: impl Fn(usize, usize, usize) -> f32 + Sync,
        bias: Option<&[f32]>,
    ) -> Self {
        let of_tap = (inputs.next_multiple_of(T::STEP) * WIDTH).max(1);
        let mut panels = Self::zeros([outputs, taps, inputs], bias);
        panels.each().par_bridge().for_each(|(outputs, values)| {
            for (tap, values) in values.chunks_exact_mut(of_tap).enumerate() {
                fill_tap(values, outputs.clone(), inputs, |output, input| {
                    weight(output, tap, input)
                });
            }
        });
        panels
    }

    /// A matrix of zeros.
    fn zeros([outputs, taps, inputs]: [usize; 3], bias: Option<&[f32]>) -> Self {
        let panels = outputs.div_ceil(WIDTH);
        let of_panel = taps * inputs.next_multiple_of(T::STEP) * WIDTH;
        let mut values = T::zeros(panels * of_panel);
        advise_large_pages(&mut values);
        let mut padded = bias.unwrap_or(&[]).to_vec();
        padded.resize(panels * WIDTH, 0.0);
        Self {
            values,
            bias: padded,
            taps,
            inputs,
            outputs,
        }
    }

    /// The outputs and the values of each panel.
    fn each(&mut self) -> impl Iterator<Item = (Range<usize>, &mut [T])> {
        let outputs = self.outputs;
        let of_panel = self.taps * self.inputs.next_multiple_of(T::STEP) * WIDTH;
        let panels = self.values.chunks_exact_mut(of_panel.max(1));
        panels
            .enumerate()
            .map(move |(i, values)| (i * WIDTH..outputs.min((i + 1) * WIDTH), values))
    }

    /// One tap whose matrix is given by its rows, without a bias.
    pub fn from_rows(rows: &[&[T]]) -> Self {
        let outputs = rows.first().map_or(0, |row| row.len());
        Self::filled(rows.len(), outputs, |columns, panel| {
            for (rows, to) in rows
                .chunks(T::STEP)
                .zip(panel.chunks_exact_mut(WIDTH * T::STEP))
            {
                for (step, row) in rows.iter().enumerate() {
                    let places = to[step..].iter_mut().step_by(T::STEP);
                    places
                        .zip(&row[columns.clone()])
                        .for_each(|(to, value)| *to = *value);
                }
            }
        })
    }

    /// One tap whose matrix is given by its columns, without a bias.
    pub fn from_columns(columns: &[&[T]]) -> Self {
        let inputs = columns.first().map_or(0, |column| column.len());
        Self::filled(inputs, columns.len(), |part, panel| {
            for (i, column) in columns[part].iter().enumerate() {
                for step in 0..T::STEP {
                    let values = column.iter().skip(step).step_by(T::STEP);
                    let rows = panel.chunks_exact_mut(WIDTH * T::STEP);
                    values
                        .zip(rows)
                        .for_each(|(value, row)| row[i * T::STEP + step] = *value);
                }
            }
        })
    }

    /// `fill` writes a panel of zeros, which is for some outputs.
    fn filled(inputs: usize, outputs: usize, fill: impl Fn(Range<usize>, &mut [T])) -> Self {
        let panels = outputs.div_ceil(WIDTH);
        let panel = inputs.next_multiple_of(T::STEP) * WIDTH;
        let mut values = T::zeros(panels * panel);
        for (i, values) in values.chunks_exact_mut(panel.max(1)).enumerate() {
            fill(i * WIDTH..outputs.min((i + 1) * WIDTH), values);
        }
        Self {
            values,
            bias: vec![0.0; panels * WIDTH],
            taps: 1,
            inputs,
            outputs,
        }
    }

    /// Bytes that weights of this shape (outputs, taps, inputs) take with their bias.
    pub fn bytes_for([outputs, taps, inputs]: [usize; 3]) -> u64 {
        let panels = outputs.div_ceil(WIDTH);
        let values = panels * taps * inputs.next_multiple_of(T::STEP) * WIDTH;
        (values * size_of::<T>() + panels * WIDTH * size_of::<f32>()) as u64
    }

    /// Bytes of weights and bias.
    pub fn bytes(&self) -> u64 {
        (size_of_val(&self.values[..]) + size_of_val(&self.bias[..])) as u64
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

struct Product<'a, T> {
    panels: &'a Panels<T>,
    chosen: Range<usize>,
    rows: Rows<'a, T>,
    results: Results<'a>,
}

/// Rows of a panel that are used up before the next: some taps, of each some inputs.
#[derive(Clone)]
struct Block {
    taps: Range<usize>,
    inputs: Range<usize>,
}

impl<T: Stored> Product<'_, T> {
    /// The bounds that [`tile`] relies on.
    fn check(&self) {
        let Self {
            panels,
            chosen,
            rows,
            results,
        } = self;
        let width = panels.row_width();
        assert!(
            chosen.end <= panels.count() && rows.taps.len() == panels.taps,
            "the taps of a product"
        );
        assert_eq!(
            panels.values.len(),
            panels.count() * panels.taps * width * WIDTH,
            "the weights of a product"
        );
        let last = rows.count - 1;
        let furthest = rows
            .taps
            .iter()
            .max()
            .map_or(0, |tap| rows.first + last * rows.stride + tap + width);
        assert!(furthest <= rows.values.len(), "the rows of a product");
        let width = panels.columns(chosen).len();
        assert!(
            results.first + last * results.stride + width <= results.values.len(),
            "the results of a product"
        );
    }

    /// All taps of a product, in order, cut into blocks of about [`BLOCK`] bytes.
    fn blocks(&self) -> impl Iterator<Item = Block> + use<T> {
        let taps = self.panels.taps;
        let inputs = self.panels.row_width();
        let at_once = (Panels::<T>::DEPTH / inputs.max(1)).max(1);
        let depth = inputs.clamp(1, Panels::<T>::DEPTH);
        (0..taps).step_by(at_once).flat_map(move |tap| {
            let taps = tap..taps.min(tap + at_once);
            (0..inputs).step_by(depth).map(move |input| Block {
                taps: taps.clone(),
                inputs: input..inputs.min(input + depth),
            })
        })
    }

    /// All blocks of all chosen panels, for all rows.
    #[inline(always)]
    fn all_tiles<L: Lanes>(mut self, simd: L::Detected) {
        for block in self.blocks() {
            for panel in self.chosen.clone() {
                self.tiles::<L>(simd, &block, panel);
            }
        }
    }

    /// The same after a conversion of rows and weights to f32, one panel at a time.
    #[inline(always)]
    fn widened<L: Lanes>(self, simd: L::Detected) {
        let Self {
            panels,
            chosen,
            rows,
            results,
        } = self;
        let width = panels.row_width();
        let last = rows.first + (rows.count - 1) * rows.stride;
        let end = rows
            .taps
            .iter()
            .max()
            .map_or(last, |tap| last + tap + width);
        // No closure may be between here and the tiles, since it would lack the instructions.
        let (mut values, mut panel_values) = WIDENED.take();
        T::widen(&rows.values[rows.first..end], &mut values);
        let panel_size = panels.taps * width * WIDTH;
        for panel in chosen.clone() {
            let weights = &panels.values[panel * panel_size..][..panel_size];
            T::widen_panel(weights, WIDTH, &mut panel_values);
            let one = Panels {
                values: mem::take(&mut panel_values),
                bias: panels.bias[panel * WIDTH..][..WIDTH].to_vec(),
                taps: panels.taps,
                inputs: width,
                outputs: panels.columns(&(panel..panel + 1)).len(),
            };
            let product = Product {
                panels: &one,
                chosen: 0..1,
                rows: Rows {
                    values: &values,
                    first: 0,
                    stride: rows.stride,
                    taps: rows.taps,
                    count: rows.count,
                },
                results: Results {
                    values: &mut *results.values,
                    first: results.first + (panel - chosen.start) * WIDTH,
                    stride: results.stride,
                    add: results.add,
                },
            };
            product.all_tiles::<L>(simd);
            panel_values = one.values;
        }
        WIDENED.set((values, panel_values));
    }

    /// A block of one panel, for all rows.
    #[inline(always)]
    fn tiles<L: Lanes>(&mut self, simd: L::Detected, block: &Block, panel: usize) {
        let columns = self.panels.columns(&(panel..panel + 1)).len();
        let tiles = self.rows.count.div_ceil(L::TILE_ROWS);
        let mut first = 0;
        for i in 0..tiles {
            // Tiles of about the same height
            let rows = (self.rows.count - first).div_ceil(tiles - i);
            let mut column = 0;
            while column < columns {
                if L::TILE_VECTORS == 2 && columns - column > L::COUNT {
                    tile_of_height::<L, T, 2>(
                        simd,
                        self,
                        block,
                        panel,
                        first,
                        rows,
                        column..columns,
                    );
                } else {
                    tile_of_height::<L, T, 1>(
                        simd,
                        self,
                        block,
                        panel,
                        first,
                        rows,
                        column..columns,
                    );
                }
                column += L::TILE_VECTORS * L::COUNT;
            }
            first += rows;
        }
    }
}

impl<T: Stored> Kernel for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        if self.rows.count == 0 || self.chosen.is_empty() {
            return;
        }
        self.check();
        if T::widens::<L>() && self.rows.count >= MANY_ROWS {
            self.widened::<L>(simd);
        } else {
            self.all_tiles::<L>(simd);
        }
    }
}

/// [`tile`] for a height that is known only at run time.
#[inline(always)]
fn tile_of_height<L: Lanes, T: Stored, const V: usize>(
    simd: L::Detected,
    product: &mut Product<T>,
    block: &Block,
    panel: usize,
    first: usize,
    rows: usize,
    columns: Range<usize>,
) {
    match rows {
        1 => tile::<L, T, 1, V>(simd, product, block, panel, first, columns),
        2 => tile::<L, T, 2, V>(simd, product, block, panel, first, columns),
        3 => tile::<L, T, 3, V>(simd, product, block, panel, first, columns),
        4 => tile::<L, T, 4, V>(simd, product, block, panel, first, columns),
        5 if L::TILE_ROWS > 4 => tile::<L, T, 5, V>(simd, product, block, panel, first, columns),
        6 if L::TILE_ROWS > 4 => tile::<L, T, 6, V>(simd, product, block, panel, first, columns),
        7 if L::TILE_ROWS > 6 => tile::<L, T, 7, V>(simd, product, block, panel, first, columns),
        8 if L::TILE_ROWS > 6 => tile::<L, T, 8, V>(simd, product, block, panel, first, columns),
        9 if L::TILE_ROWS > 6 => tile::<L, T, 9, V>(simd, product, block, panel, first, columns),
        10 if L::TILE_ROWS > 6 => tile::<L, T, 10, V>(simd, product, block, panel, first, columns),
        11 if L::TILE_ROWS > 6 => tile::<L, T, 11, V>(simd, product, block, panel, first, columns),
        12 if L::TILE_ROWS > 6 => tile::<L, T, 12, V>(simd, product, block, panel, first, columns),
        _ => unreachable!("tiles are at most as high as the machine's registers allow"),
    }
}

/// `R` rows from `first` on times `V` vectors of columns, of which those inside `columns` are kept.
/// The first block of a panel begins its sums with the bias, each further block continues from
/// the results so far.
#[inline(always)]
fn tile<L: Lanes, T: Stored, const R: usize, const V: usize>(
    simd: L::Detected,
    product: &mut Product<T>,
    block: &Block,
    panel: usize,
    first: usize,
    columns: Range<usize>,
) {
    let Product {
        panels,
        chosen,
        rows,
        results,
    } = product;
    let begins = block.taps.start == 0 && block.inputs.start == 0;
    let place = |row: usize, v: usize| {
        let at = results.first + (first + row) * results.stride + (panel - chosen.start) * WIDTH;
        let from = columns.start + v * L::COUNT;
        at + from..at + columns.end.min(from + L::COUNT)
    };
    let bias = &panels.bias[panel * WIDTH + columns.start..];
    let mut sums = [[L::splat(simd, 0.0); V]; R];
    for (row, sums) in sums.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = if begins {
                L::load(simd, &bias[v * L::COUNT..])
            } else {
                L::load_rest(simd, &results.values[place(row, v)], 0.0)
            };
        }
    }
    let width = panels.row_width();
    let x = rows
        .values
        .as_ptr()
        .wrapping_add(rows.first + first * rows.stride);
    let weights =
        panels.values[panel * panels.taps * width * WIDTH + columns.start * T::STEP..].as_ptr();
    for tap in block.taps.clone() {
        let x: [*const T; R] =
            std::array::from_fn(|row| x.wrapping_add(row * rows.stride + rows.taps[tap]));
        let mut weight = weights.wrapping_add((tap * width + block.inputs.start) * WIDTH);
        for step in block.inputs.start / T::STEP..block.inputs.end / T::STEP {
            // SAFETY: `check` has seen that a panel has WIDTH values for each tap and input, and
            // `columns.start + V * COUNT <= WIDTH`.
            let mut vectors = [unsafe { T::factors::<L>(simd, weight) }; V];
            for (v, vector) in vectors.iter_mut().enumerate().skip(1) {
                // SAFETY: the same.
                *vector =
                    unsafe { T::factors::<L>(simd, weight.wrapping_add(v * L::COUNT * T::STEP)) };
            }
            for (x, sums) in x.iter().zip(&mut sums) {
                // SAFETY: `check` has seen that the last row's last tap ends inside the slice.
                let value = unsafe { T::repeated::<L>(simd, x.wrapping_add(step * T::STEP)) };
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = T::sum_of_products(value, vector, *sum);
                }
            }
            weight = weight.wrapping_add(WIDTH * T::STEP);
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            keep(
                sum,
                &mut results.values[place(row, v)],
                results.add && begins,
            );
        }
    }
}

/// Writes or adds as many values as `to` has.
#[inline(always)]
fn keep<L: Lanes>(sum: L, to: &mut [f32], add: bool) {
    let sum = if add {
        L::load_rest(sum.detected(), to, 0.0).add(sum)
    } else {
        sum
    };
    sum.store_rest(to);
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::nn::cpu::{simd::in_all_versions, stored::row_stride};

    struct Whole<'a, T>(&'a Panels<T>, Rows<'a, T>, usize);

    impl<T: Stored> Kernel for Whole<'_, T> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Vec<f32> {
            let Self(panels, rows, stride) = self;
            let mut out = vec![1.0; rows.count * stride];
            let results = Results {
                values: &mut out,
                first: 0,
                stride,
                add: true,
            };
            Product {
                panels,
                chosen: 0..panels.count(),
                rows,
                results,
            }
            .run::<L>(simd);
            out
        }
    }

    #[test]
    fn products_match_the_definition_for_odd_shapes() {
        for sizes in [
            [1, 1, 1, 1],
            [3, 2, 5, 17],
            [13, 1, 33, 33],
            [29, 4, 3, 70],
            [50, 9, 8, 3],
            [7, 1, 2500, 40],
            [5, 9, 700, 33],
        ] {
            products_match::<f32>(sizes);
            products_match::<bf16>(sizes);
        }
    }

    fn products_match<T: Stored>([count, taps, inputs, outputs]: [usize; 4]) {
        let rounded = |v: f32| T::rounded(v).value();
        let weight =
            |o: usize, t: usize, i: usize| rounded(((o * 31 + t * 7 + i * 3) as f32).sin());
        let bias: Vec<f32> = (0..outputs).map(|o| o as f32 * 0.1).collect();
        let panels = Panels::<T>::new([outputs, taps, inputs], weight, Some(&bias));
        let values: Vec<f32> = (0..(count + taps) * inputs)
            .map(|i| rounded((i as f32 * 0.73).cos()))
            .collect();
        let stride = row_stride::<T>(inputs);
        let offsets: Vec<usize> = (0..taps).map(|t| t * stride).collect();
        let mut room = Vec::new();
        let rows = Rows {
            values: T::rows(&values, inputs, &mut room),
            first: 0,
            stride,
            taps: &offsets,
            count,
        };
        for found in in_all_versions(|| Whole(&panels, rows, outputs + 2)) {
            for (i, found) in found.iter().enumerate() {
                let row = i / (outputs + 2);
                let o = i % (outputs + 2);
                let term = |j: usize| values[row * inputs + j] * weight(o, j / inputs, j % inputs);
                let sum = (0..taps * inputs).map(term).sum::<f32>();
                let expected = if o < outputs {
                    1.0 + bias[o] + sum
                } else {
                    1.0
                };
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{count} {taps} {inputs} {outputs}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn packing_by_rows_or_by_columns_gives_the_same_panels() {
        check_packing::<f32>();
        check_packing::<bf16>();
    }

    fn check_packing<T: Stored>() {
        let values: Vec<f32> = (0..45 * 7).map(|i| (i as f32).sin()).collect();
        let values: Vec<T> = values.into_iter().map(T::rounded).collect();
        let pack = |width: usize| values.chunks_exact(width).collect::<Vec<_>>();
        let expected = Panels::<T>::new([7, 1, 45], |o, _, i| values[i * 7 + o].value(), None);
        assert!(Panels::from_rows(&pack(7)).values == expected.values);
        let expected = Panels::<T>::new([45, 1, 7], |o, _, i| values[o * 7 + i].value(), None);
        assert!(Panels::from_columns(&pack(7)).values == expected.values);
        let matrix: Vec<f32> = values.iter().map(|value| value.value()).collect();
        for [outputs, inputs] in [[45, 7], [7, 45], [3, 32]] {
            let weight = |o: usize, _: usize, i: usize| matrix[o * inputs + i];
            let expected = Panels::<T>::new([outputs, 1, inputs], weight, None);
            let found = Panels::<T>::from_matrix([outputs, inputs], &matrix, None);
            assert!(found.values == expected.values, "{outputs} x {inputs}");
        }
    }

    #[test]
    fn rows_are_batch_invariant() {
        check_batch_invariance::<f32>();
        // Above and below the number of rows from which on weights are converted
        check_batch_invariance::<bf16>();
    }

    fn check_batch_invariance<T: Stored>() {
        let panels = Panels::<T>::new([40, 1, 50], |o, _, i| ((o * 50 + i) as f32).sin(), None);
        let values: Vec<f32> = (0..30 * 50).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut room = Vec::new();
        let values = T::rows(&values, 50, &mut room);
        let run = |first: usize, count: usize| {
            let rows = Rows {
                values,
                first: first * 50,
                stride: 50,
                taps: &[0],
                count,
            };
            in_all_versions(|| Whole(&panels, rows, 40))
        };
        for (version, all) in run(0, 30).into_iter().enumerate() {
            for row in 0..30 {
                assert_eq!(run(row, 1)[version], all[row * 40..][..40]);
            }
        }
    }
}
