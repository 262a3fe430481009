//! Convolutions of size 3 by minimal filtering, F(4 x 4, 3 x 3) (Winograd; Lavin & Gray, arXiv
//! 1509.09308): of a tile of 6 x 6 pixels 36 sums are made, each is multiplied by its own
//! matrix, and 4 x 4 outputs are sums of the products. That takes a quarter of the multiplications;
//! rounding errors grow to about 1e-5 of the largest value. Sums and products are always taken in
//! f32: rounded to bf16 they would change outputs by about 2 %.

use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

use super::{
    feature_map::HostMap,
    panels::{Panels, Results, Rows},
    simd::{Kernel, Lanes, dispatch},
    stored::{Stored, row_stride},
};

/// Pixels along one side of a tile's output.
const TILE: usize = 4;
/// Pixels along one side of a tile's input.
const REACH: usize = 6;
/// Products of a tile.
const PRODUCTS: usize = REACH * REACH;
/// Approximate number of tiles that are processed together.
const AT_ONCE: usize = 64;

/// The weights of a convolution of size 3 with a border of 1, transformed.
#[derive(Clone, Debug)]
pub(crate) struct Winograd {
    panels: Vec<Panels>, // (36), inputs to outputs
    bias: Vec<f32>,
}

impl Winograd {
    /// Returns whether the kernels support these numbers of channels.
    pub fn fits(inputs: usize, outputs: usize) -> bool {
        inputs.is_multiple_of(16) && outputs.is_multiple_of(16)
    }

    /// From `weight` (outputs, inputs, 3, 3).
    pub fn new(weight: &[f32], [outputs, inputs]: [usize; 2], bias: &[f32]) -> Self {
        // G of the paper
        const G: [[f64; 3]; REACH] = [
            [1.0 / 4.0, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ];
        let panel = |i: usize| {
            let left = &G[i / REACH];
            let right = &G[i % REACH];
            let value = |output: usize, _: usize, input: usize| {
                let kernel = &weight[(output * inputs + input) * 9..][..9];
                let terms = kernel
                    .iter()
                    .enumerate()
                    .map(|(tap, w)| left[tap / 3] * right[tap % 3] * f64::from(*w));
                terms.sum::<f64>() as f32
            };
            Panels::new([outputs, 1, inputs], value, None)
        };
        Self {
            panels: (0..PRODUCTS).map(panel).collect(),
            bias: bias.to_vec(),
        }
    }

    /// Bytes of the weights between so many channels, except for padding.
    pub fn bytes_for(inputs: usize, outputs: usize) -> usize {
        PRODUCTS * inputs * outputs * size_of::<f32>()
    }

    /// Bytes of the weights between so many channels, with their bias.
    pub fn exact_bytes_for(inputs: usize, outputs: usize) -> u64 {
        let panels = PRODUCTS as u64 * Panels::<f32>::bytes_for([outputs, 1, inputs]);
        panels + (outputs * size_of::<f32>()) as u64
    }

    /// Bytes of weights and bias.
    pub fn bytes(&self) -> u64 {
        self.panels.iter().map(Panels::bytes).sum::<u64>() + size_of_val(&self.bias[..]) as u64
    }

    /// Channels that come in.
    pub fn inputs(&self) -> usize {
        self.panels[0].inputs()
    }

    /// Channels that go out.
    pub fn outputs(&self) -> usize {
        self.panels[0].outputs()
    }

    /// Writes or adds the convolution of `x`, whose border is at least 1, to `out`, which has none.
    pub fn run<T: Stored>(&self, x: &HostMap<T>, out: &mut HostMap<T>, add: bool) -> Result<()> {
        let fits = (x.images, x.size, x.channels) == (out.images, out.size, self.inputs());
        if !fits || x.border == 0 || out.channels != self.outputs() || out.border != 0 {
            candle_core::bail!("the maps of a convolution do not fit together");
        }
        let (height, width) = out.size;
        let tiles = width.div_ceil(TILE);
        let rows = TILE * (AT_ONCE / tiles.max(1)).max(1);
        if x.images * height.div_ceil(rows) < rayon::current_num_threads() {
            self.by_panels(x, out, add);
            return Ok(());
        }
        out.bands(rows)
            .into_par_iter()
            .for_each_init(Vec::new, |buffer, (image, (band, out))| {
                self.band(
                    &Band {
                        x,
                        image,
                        top: band * rows,
                        tiles,
                        width,
                    },
                    out,
                    add,
                    buffer,
                );
            });
        Ok(())
    }

    /// Maps too small to give each thread a band: the threads share the outputs, and so the
    /// weights, which are larger here.
    fn by_panels<T: Stored>(&self, x: &HostMap<T>, out: &mut HostMap<T>, add: bool) {
        let (height, width) = out.size;
        let outputs = self.outputs();
        let tiles = width.div_ceil(TILE);
        let stride = out.row_stride();
        let count = height.div_ceil(TILE) * tiles;
        let share = self.panels[0]
            .count()
            .div_ceil(rayon::current_num_threads());
        for (image, out) in out
            .values
            .chunks_exact_mut((height * stride).max(1))
            .enumerate()
        {
            let mut sums = vec![0.0; PRODUCTS * matrix_stride(count * self.inputs())];
            let band = Band {
                x,
                image,
                top: 0,
                tiles,
                width,
            };
            dispatch(Analyse {
                band: &band,
                count,
                sums: &mut sums,
            });
            let firsts = (0..self.panels[0].count()).into_par_iter().step_by(share);
            let parts: Vec<_> = firsts
                .map(|first| self.part(first..first + share, &sums, &band, height))
                .collect();
            out.par_chunks_exact_mut(stride).enumerate().for_each_init(
                Vec::new,
                |room, (y, row)| {
                    T::in_f32(row, add, room, |row| {
                        for (x, pixel) in row.chunks_exact_mut(outputs).enumerate() {
                            for (columns, part) in &parts {
                                let from =
                                    &part[(y * width + x) * columns.len()..][..columns.len()];
                                let to = pixel[columns.clone()].iter_mut().zip(from);
                                to.for_each(|(to, v)| *to = if add { *to + v } else { *v });
                            }
                        }
                    });
                },
            );
        }
    }

    /// Some outputs of a whole image: which, and their values (H, W, those outputs).
    fn part(
        &self,
        panels: Range<usize>,
        sums: &[f32],
        band: &Band<impl Stored>,
        height: usize,
    ) -> (Range<usize>, Vec<f32>) {
        let all = &self.panels[0];
        let panels = panels.start..panels.end.min(all.count());
        let columns = all.columns(&panels);
        let count = height.div_ceil(TILE) * band.tiles;
        let mut products = vec![0.0; PRODUCTS * matrix_stride(count * columns.len())];
        self.multiply(panels, sums, &mut products, count);
        let mut out = vec![0.0; height * band.width * columns.len()];
        let tiles = band.tiles;
        let bias = &self.bias[columns.clone()];
        let width = band.width;
        dispatch(Compose {
            products: &products,
            count,
            tiles,
            bias,
            width,
            out: &mut out,
            add: false,
        });
        (columns, out)
    }

    /// The products of all sums (36, count, inputs) with some panels: (36, count, their outputs).
    /// The matrices of both are [`matrix_stride`] apart.
    fn multiply(&self, panels: Range<usize>, sums: &[f32], products: &mut [f32], count: usize) {
        let inputs = self.inputs();
        let outputs = self.panels[0].columns(&panels).len();
        let matrices = sums
            .chunks_exact(matrix_stride(count * inputs))
            .zip(products.chunks_exact_mut(matrix_stride(count * outputs)));
        for (matrix, (sums, products)) in self.panels.iter().zip(matrices) {
            let rows = Rows {
                values: sums,
                first: 0,
                stride: inputs,
                taps: &[0],
                count,
            };
            let results = Results {
                values: products,
                first: 0,
                stride: outputs,
                add: false,
            };
            matrix.multiply(panels.clone(), rows, results);
        }
    }

    /// Some rows of an image, whole tiles of them but perhaps at the bottom.
    fn band<T: Stored>(&self, band: &Band<T>, out: &mut [T], add: bool, buffer: &mut Vec<f32>) {
        let inputs = self.inputs();
        let outputs = self.outputs();
        let height = out.len() / (band.width * outputs);
        let count = height.div_ceil(TILE) * band.tiles;
        let sums_len = PRODUCTS * matrix_stride(count * inputs);
        let products_len = PRODUCTS * matrix_stride(count * outputs);
        buffer.resize(sums_len + products_len, 0.0);
        let (sums, products) = buffer.split_at_mut(sums_len);
        dispatch(Analyse { band, count, sums });
        self.multiply(0..self.panels[0].count(), sums, products, count);
        dispatch(Compose {
            products,
            count,
            tiles: band.tiles,
            bias: &self.bias,
            width: band.width,
            out,
            add,
        });
    }
}

/// Numbers from one of the 36 matrices of `count` numbers to the next. A tile's numbers lie at the
/// same place of each, where a cache must be able to hold all of them.
fn matrix_stride(count: usize) -> usize {
    row_stride::<f32>(count)
}

/// Rows of an image from `top` on.
struct Band<'a, T> {
    x: &'a HostMap<T>,
    image: usize,
    top: usize,
    /// Tiles side by side.
    tiles: usize,
    width: usize,
}

/// Makes the 36 sums of every tile: (36, tiles, inputs).
struct Analyse<'a, T> {
    band: &'a Band<'a, T>,
    count: usize,
    sums: &'a mut [f32],
}

impl<T: Stored> Kernel for Analyse<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        let Self { band, count, sums } = self;
        let x = band.x;
        let channels = band.x.channels;
        let stride = matrix_stride(count * channels);
        // Of the border that the kernel reaches
        let corner = x.at(band.image, 0) - x.row_stride() - channels;
        let mut edge = vec![T::default(); PRODUCTS * channels];
        for tile in 0..count {
            let y = band.top + tile / band.tiles * TILE;
            let left = tile % band.tiles * TILE;
            let origin = corner + y * x.row_stride() + left * channels;
            let offset = |i: usize| i / REACH * x.row_stride() + i % REACH * channels;
            let inside = y + REACH <= x.size.0 + 2 && left + REACH <= x.size.1 + 2;
            if !inside {
                for (i, pixel) in edge.chunks_exact_mut(channels).enumerate() {
                    let known = y + i / REACH < x.size.0 + 2 && left + i % REACH < x.size.1 + 2;
                    if known {
                        pixel.copy_from_slice(&x.values[origin + offset(i)..][..channels]);
                    } else {
                        pixel.fill(T::default());
                    }
                }
            }
            for channel in (0..channels).step_by(L::COUNT) {
                let mut d = [[L::splat(simd, 0.0); REACH]; REACH];
                for (i, row) in d.iter_mut().enumerate() {
                    for (j, v) in row.iter_mut().enumerate() {
                        let pixel = if inside {
                            &x.values[origin + offset(i * REACH + j) + channel..]
                        } else {
                            &edge[(i * REACH + j) * channels + channel..]
                        };
                        *v = T::load(simd, &pixel[..L::COUNT]);
                    }
                    *row = analysed(*row);
                }
                for j in 0..REACH {
                    let column = analysed([d[0][j], d[1][j], d[2][j], d[3][j], d[4][j], d[5][j]]);
                    for (i, v) in column.into_iter().enumerate() {
                        v.store(&mut sums[(i * REACH + j) * stride + tile * channels + channel..]);
                    }
                }
            }
        }
    }
}

/// B^T d of the paper.
#[inline(always)]
fn analysed<L: Lanes>([a, b, c, d, e, f]: [L; REACH]) -> [L; REACH] {
    let simd = a.detected();
    let [four, five, two] = [-4.0, -5.0, 2.0].map(|value| L::splat(simd, value));
    let even = c.mul_add(four, e);
    let odd = b.mul_add(four, d); // e - 4c, d - 4b
    let near = e.sub(c);
    let far = d.sub(b).mul(two);
    let outer = |x: L, y: L, z: L| y.mul_add(five, z).sub(x.mul(four)); // 4x - 5y + z
    [
        outer(a, c, e),
        even.add(odd),
        even.sub(odd),
        near.add(far),
        near.sub(far),
        outer(b, d, f),
    ]
}

/// Makes the outputs of every tile from its products (36, tiles, outputs).
struct Compose<'a, T> {
    products: &'a [f32],
    count: usize,
    tiles: usize,
    bias: &'a [f32],
    width: usize,
    out: &'a mut [T],
    add: bool,
}

impl<T: Stored> Kernel for Compose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        let Self {
            products,
            count,
            tiles,
            bias,
            width,
            out,
            add,
        } = self;
        let channels = bias.len();
        let stride = matrix_stride(count * channels);
        let height = out.len() / (width * channels);
        for tile in 0..count {
            let top = tile / tiles * TILE;
            let left = tile % tiles * TILE;
            for channel in (0..channels).step_by(L::COUNT) {
                let product =
                    |i: usize| L::load(simd, &products[i * stride + tile * channels + channel..]);
                let mut rows = [[L::splat(simd, 0.0); TILE]; REACH];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = composed(std::array::from_fn(|j| product(i * REACH + j)));
                }
                let bias = L::load(simd, &bias[channel..]);
                for j in 0..TILE.min(width - left) {
                    let column = composed([
                        rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j],
                    ]);
                    for (i, v) in column.into_iter().enumerate().take(height - top) {
                        let to = &mut out[((top + i) * width + left + j) * channels + channel..]
                            [..L::COUNT];
                        let v = v.add(bias);
                        let v = if add {
                            T::load::<L>(simd, to).add(v)
                        } else {
                            v
                        };
                        T::store(v, to);
                    }
                }
            }
        }
    }
}

/// A^T m of the paper.
#[inline(always)]
fn composed<L: Lanes>([a, b, c, d, e, f]: [L; REACH]) -> [L; TILE] {
    let near = b.add(c);
    let slope = b.sub(c);
    let far = d.add(e);
    let steep = d.sub(e);
    let simd = a.detected();
    let [two, four, eight] = [2.0, 4.0, 8.0].map(|value| L::splat(simd, value));
    [
        a.add(near).add(far),
        steep.mul_add(two, slope),
        far.mul_add(four, near),
        steep.mul_add(eight, slope).add(f),
    ]
}
