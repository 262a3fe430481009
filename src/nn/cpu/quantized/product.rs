//! Multiplies rows by panels, in tiles.

use std::{hint::black_box, ops::Range};

use super::{BLOCK, QUAD, QUADS, QuantizedPanels, QuantizedRows, rows::row_stride};
use crate::nn::cpu::{
    panels::WIDTH,
    simd::{Dot, DotKernel, Lanes},
};

/// The product of some rows and panels.
pub(super) struct Product<'a> {
    pub panels: &'a QuantizedPanels,
    pub chosen: Range<usize>,
    pub rows: &'a QuantizedRows,
    pub which: Range<usize>,
    pub out: &'a mut [f32],
    pub stride: usize,
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
            [rows.scales.len(), rows.starts.len()],
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
        6 if D::TILE_ROWS > 4 => tile::<D, 6, V>(simd, product, place),
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
    let scales_of: [*const f32; R] =
        std::array::from_fn(|row| rows.scales[(first + row) * blocks..].as_ptr());
    let starts_of: [*const i32; R] =
        std::array::from_fn(|row| rows.starts[(first + row) * blocks..].as_ptr());
    let mut weights =
        panels.values[(panel * blocks * BLOCK * WIDTH + columns.start * QUAD)..].as_ptr();
    let mut scales = panels.scales[panel * blocks * WIDTH + columns.start..].as_ptr();
    // A count that the compiler does not know, so that it keeps the loop over quads as a loop:
    // unrolled, sums and totals do not fit into the registers together with what is loaded ahead.
    let quads = black_box(QUADS);
    for block in 0..blocks {
        let mut sums = [[D::begin(simd, 0); V]; R];
        for (sums, starts) in sums.iter_mut().zip(&starts_of) {
            // SAFETY: `check` has seen that every row has a start and a scale for each block.
            *sums = [D::begin(simd, unsafe { *starts.add(block) }); V];
        }
        for quad in block * quads..(block + 1) * quads {
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
            for ((totals, sums), scales) in totals.iter_mut().zip(&sums).zip(&scales_of) {
                // SAFETY: as for the start.
                let row_scale = D::Lanes::splat(lanes, unsafe { *scales.add(block) });
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
    use super::{
        super::{
            block::{LARGEST, inverse, largest, weight_scale},
            numbers,
            rows::Quantize,
        },
        *,
    };
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
