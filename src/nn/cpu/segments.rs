//! The keys and values of attention heads, packed in segments that tiles of queries meet one after
//! the other.

use std::ops::Range;

use candle_core::Result;
use rayon::prelude::*;

use super::{
    panels::{Panels, Results, Rows, WIDTH},
    softmax::RunningSoftmax,
    stored::{Stored, row_stride},
    values::Values,
};
use crate::nn::Kv;

/// Queries that are processed together.
pub(crate) const TILE: usize = 64;

/// Keys of a segment at most; with a tile of queries they make 128 KiB of scores, which stay in a
/// core's cache.
const SEGMENT: usize = 512;

/// The keys and values of one head, joined from all blocks. In bf16 queries and weights are
/// rounded, too.
pub(crate) struct Head<T> {
    segments: Vec<Segment<T>>,
    /// The head's columns in C.
    columns: Range<usize>,
    c: usize,
}

/// At most [`SEGMENT`] tokens of a head, packed.
struct Segment<T> {
    keys: Panels<T>,   // width -> tokens
    values: Panels<T>, // tokens -> width
}

/// Buffers for one tile of queries against one segment.
#[derive(Default)]
pub(crate) struct TileBuffers<T> {
    queries: Vec<T>,
    scores: Vec<f32>,
    weights: Vec<T>,
}

impl<T: Stored> Head<T> {
    /// All heads of a candidate that sees these blocks, of `c` values per token.
    pub fn all(blocks: &[&Kv], heads: usize, c: usize) -> Result<Vec<Self>> {
        let k: Vec<Values<T>> = blocks
            .iter()
            .map(|kv| Values::from_tensor(&kv.k))
            .collect::<Result<_>>()?;
        let v: Vec<Values<T>> = blocks
            .iter()
            .map(|kv| Values::from_tensor(&kv.v))
            .collect::<Result<_>>()?;
        let k = tokens(&k, c);
        let v = tokens(&v, c);
        let size = k
            .len()
            .div_ceil(k.len().div_ceil(SEGMENT).max(1))
            .next_multiple_of(WIDTH); // all about the same
        let width = c / heads;
        let head = |head: usize| {
            let columns = head * width..(head + 1) * width;
            let segment = |(k, v): (&[&[T]], &[&[T]])| {
                let [k, v] = [k, v].map(|rows| {
                    rows.iter()
                        .map(|row| &row[columns.clone()])
                        .collect::<Vec<_>>()
                });
                Segment {
                    keys: Panels::from_columns(&k),
                    values: Panels::from_rows(&v),
                }
            };
            let segments = k
                .chunks(size.max(1))
                .zip(v.chunks(size.max(1)))
                .map(segment)
                .collect();
            Self {
                segments,
                columns: columns.clone(),
                c,
            }
        };
        Ok((0..heads).into_par_iter().map(head).collect())
    }

    /// Attention for up to [`TILE`] queries (rows, C) of a candidate.
    pub fn attend<'b>(
        &self,
        q: &[f32],
        out: &mut [f32],
        buffers: &mut TileBuffers<T>,
        scale: f32,
        bias: impl Fn(usize) -> Option<&'b [f32]>,
    ) {
        let Self { columns, c, .. } = self;
        let count = q.len() / c;
        let width = columns.len();
        let q = q
            .chunks_exact(*c)
            .map(|q| &q[columns.clone()])
            .collect::<Vec<_>>()
            .concat(); // (rows, width)
        let q = T::rows(&q, width, &mut buffers.queries);
        let mut softmaxes = [RunningSoftmax::NEW; TILE];
        let mut before = 0;
        for Segment { keys, values } in &self.segments {
            let tokens = keys.outputs();
            buffers.scores.resize(count * tokens, 0.0);
            let scores = &mut buffers.scores[..];
            let rows = Rows {
                values: q,
                first: 0,
                stride: row_stride::<T>(width),
                taps: &[0],
                count,
            };
            keys.multiply_all(
                rows,
                Results {
                    values: scores,
                    first: 0,
                    stride: tokens,
                    add: false,
                },
            );
            for (row, (softmax, scores)) in softmaxes
                .iter_mut()
                .zip(scores.chunks_mut(tokens))
                .enumerate()
            {
                let shrink = softmax.weigh(
                    scores,
                    scale,
                    bias(row).map(|bias| &bias[before..before + tokens]),
                );
                if before > 0 && shrink != 1.0 {
                    out[row * c..][columns.clone()]
                        .iter_mut()
                        .for_each(|v| *v *= shrink);
                }
            }
            let weights = T::rows(scores, tokens, &mut buffers.weights);
            let rows = Rows {
                values: weights,
                first: 0,
                stride: row_stride::<T>(tokens),
                taps: &[0],
                count,
            };
            values.multiply_all(
                rows,
                Results {
                    values: out,
                    first: columns.start,
                    stride: *c,
                    add: before > 0,
                },
            );
            before += tokens;
        }
        for (row, softmax) in out.chunks_mut(*c).zip(&softmaxes) {
            let inverse = softmax.inverse();
            row[columns.clone()].iter_mut().for_each(|v| *v *= inverse);
        }
    }
}

/// The tokens of blocks, one after the other, `c` values each.
fn tokens<'a, T: Stored>(blocks: &'a [Values<T>], c: usize) -> Vec<&'a [T]> {
    blocks
        .iter()
        .flat_map(|block| block.chunks_exact(c))
        .collect()
}
