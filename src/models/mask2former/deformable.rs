//! Attention that looks at a few places of each level instead of at all of them (Deformable DETR,
//! arXiv 2010.04159).
//!
//! Reference: huggingface/transformers at v4.49.0,
//! `src/transformers/models/mask2former/modeling_mask2former.py`, lines 803-845
//! and 886-983.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::nn::{Linear, Weights};

/// Each query reads some places around its own on every level, bilinearly, and weighs them.
#[derive(Clone, Debug)]
pub(super) struct DeformableAttention {
    sampling_offsets: Linear,
    attention_weights: Linear,
    value_proj: Linear,
    output_proj: Linear,
    heads: usize,
    points: usize,
}

impl DeformableAttention {
    /// The layer below `w` for `levels` levels of `width` channels.
    pub fn load(w: &Weights, width: usize, heads: usize, levels: usize) -> crate::Result<Self> {
        const WEIGHTS: &str = "attention_weights.weight";
        let [reads, _] = w.dims(WEIGHTS)?;
        if heads == 0
            || !width.is_multiple_of(heads)
            || reads == 0
            || !reads.is_multiple_of(heads * levels)
        {
            let expected =
                format!("the same number of places for each of {heads} heads and {levels} levels");
            return Err(w.mismatch(WEIGHTS, expected, format!("{reads} places")));
        }
        let linear = |name: &str, outputs: usize| Linear::load(&w.pp(name), width, outputs);
        Ok(Self {
            sampling_offsets: linear("sampling_offsets", 2 * reads)?,
            attention_weights: linear("attention_weights", reads)?,
            value_proj: linear("value_proj", width)?,
            output_proj: linear("output_proj", width)?,
            heads,
            points: reads / (heads * levels),
        })
    }

    /// Queries and what they read, both (B, L, C), where L goes through `grids` level by level ->
    /// (B, L, C).
    pub fn forward(
        &self,
        queries: &Tensor,
        read: &Tensor,
        grids: &[(usize, usize)],
    ) -> Result<Tensor> {
        let (b, l, c) = read.dims3()?;
        let values = flat(&self.value_proj.forward(read)?)?;
        // (B, L, heads, levels, points, 2)
        let offsets = flat(&self.sampling_offsets.forward(queries)?)?;
        // (B, L, heads, levels, points)
        let weights = flat(&self.attention_weights.forward(queries)?)?;
        let positions: Vec<(f32, f32)> = grids.iter().flat_map(|grid| centres(*grid)).collect();
        let reads = weights.len() / (b * l);
        let mut out = vec![0.0; b * l * c];
        out.par_chunks_mut(c).enumerate().for_each(|(i, out)| {
            let places = &offsets[2 * reads * i..][..2 * reads];
            let weights = &weights[reads * i..][..reads];
            let of_head = out
                .chunks_mut(c / self.heads)
                .zip(places.chunks(2 * reads / self.heads));
            for (head, ((out, places), weights)) in
                of_head.zip(weights.chunks(reads / self.heads)).enumerate()
            {
                let values = &values[i / l * l * c + head * out.len()..];
                let sampler = HeadSampler {
                    values,
                    stride: c,
                    position: positions[i % l],
                    points: self.points,
                };
                sampler.read(grids, places, &softmax(weights), out);
            }
        });
        self.output_proj
            .forward(&Tensor::from_vec(out, (b, l, c), read.device())?)
    }
}

/// One head of one query.
struct HeadSampler<'a> {
    /// The head's channels of the first token; those of the next lie `stride` further on.
    values: &'a [f32],
    stride: usize,
    /// Position of the query: shares of the width and the height.
    position: (f32, f32),
    points: usize,
}

impl HeadSampler<'_> {
    /// Adds up what lies at `places`: for each level and point, its distance in cells to the right
    /// and down.
    fn read(&self, grids: &[(usize, usize)], places: &[f32], weights: &[f32], out: &mut [f32]) {
        let mut first = 0; // token of the level
        let of_level = places
            .chunks(2 * self.points)
            .zip(weights.chunks(self.points));
        for (&(rows, columns), (places, weights)) in grids.iter().zip(of_level) {
            for (place, weight) in places.chunks(2).zip(weights) {
                // In units of cells, whose centres have integer coordinates.
                let x = self.position.0 * columns as f32 + place[0] - 0.5;
                let y = self.position.1 * rows as f32 + place[1] - 0.5;
                self.add(first, (rows, columns), (x, y), *weight, out);
            }
            first += rows * columns;
        }
    }

    /// Adds the value at (x, y), a mean of the four cells around it; outside of the grid everything
    /// is 0.
    fn add(
        &self,
        first: usize,
        (rows, columns): (usize, usize),
        (x, y): (f32, f32),
        weight: f32,
        out: &mut [f32],
    ) {
        let left = x.floor();
        let top = y.floor();
        let across = x - left;
        let down = y - top;
        let corners = [
            (left, top, (1.0 - across) * (1.0 - down)),
            (left + 1.0, top, across * (1.0 - down)),
            (left, top + 1.0, (1.0 - across) * down),
            (left + 1.0, top + 1.0, across * down),
        ];
        for (x, y, share) in corners {
            if x >= 0.0 && y >= 0.0 && x < columns as f32 && y < rows as f32 {
                let token = first + y as usize * columns + x as usize;
                let value = &self.values[token * self.stride..][..out.len()];
                out.iter_mut()
                    .zip(value)
                    .for_each(|(out, value)| *out += weight * share * value);
            }
        }
    }
}

/// The centre of each cell of a grid: shares of the width and the height.
fn centres((rows, columns): (usize, usize)) -> impl Iterator<Item = (f32, f32)> {
    let along = |i: usize, count: usize| (i as f32 + 0.5) / count as f32;
    (0..rows * columns).map(move |i| (along(i % columns, columns), along(i / columns, rows)))
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1()
}
