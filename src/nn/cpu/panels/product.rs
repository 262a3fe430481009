//! Multiplies rows by panels, in tiles.

use std::{cell::RefCell, mem, ops::Range};

use super::{Panels, Results, Rows, WIDTH};
use crate::nn::cpu::{
    simd::{Kernel, Lanes},
    stored::Stored,
};

/// Rows from which on a conversion of the weights to f32 pays.
const MANY_ROWS: usize = 12;

thread_local! {
    /// Memory for rows and a panel in f32.
    static WIDENED: RefCell<(Vec<f32>, Vec<f32>)> = RefCell::default();
}

/// The product of some rows and panels.
pub(super) struct Product<'a, T> {
    pub panels: &'a Panels<T>,
    pub chosen: Range<usize>,
    pub rows: Rows<'a, T>,
    pub results: Results<'a>,
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
        assert!(
            chosen.end <= panels.count() && rows.taps.len() == panels.taps,
            "the taps of a product"
        );
        assert_eq!(
            panels.values.len(),
            panels.count() * panels.panel_len(),
            "the weights of a product"
        );
        assert!(
            rows.end(panels.row_width()) <= rows.values.len(),
            "the rows of a product"
        );
        let last = rows.count - 1;
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
        let end = rows.end(width);
        // No closure may be between here and the tiles, since it would lack the instructions.
        let (mut values, mut panel_values) = WIDENED.take();
        T::widen(&rows.values[rows.first..end], &mut values);
        let panel_size = panels.panel_len();
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
