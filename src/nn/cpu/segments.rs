//! The keys and values of attention heads, packed in segments that tiles of queries meet one after
//! the other.

use std::ops::Range;

use super::{
    panels::{Panels, Results, Rows, WIDTH},
    softmax::RunningSoftmax,
    stored::{Stored, row_stride},
};

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
    /// The head of these columns, of the keys and values (T, C) of all tokens.
    pub fn pack(keys: &[&[T]], values: &[&[T]], columns: Range<usize>) -> Self {
        let tokens = keys.len();
        let size = tokens
            .div_ceil(tokens.div_ceil(SEGMENT).max(1))
            .next_multiple_of(WIDTH); // all about the same
        let segment = |(keys, values): (&[&[T]], &[&[T]])| Segment {
            keys: Panels::from_columns(&columns_of(keys, &columns)),
            values: Panels::from_rows(&columns_of(values, &columns)),
        };
        let parts = keys.chunks(size.max(1)).zip(values.chunks(size.max(1)));
        Self {
            segments: parts.map(segment).collect(),
            columns,
        }
    }

    /// Attention for up to [`TILE`] queries (rows, `c`) of a candidate, of which the head sees its
    /// own columns; `out` is (rows, width of the head).
    pub fn attend<'b>(
        &self,
        (q, c): (&[f32], usize),
        out: &mut [f32],
        buffers: &mut TileBuffers<T>,
        scale: f32,
        bias: impl Fn(usize) -> Option<&'b [f32]>,
    ) {
        let count = q.len() / c;
        let width = self.columns.len();
        let q = q
            .chunks_exact(c)
            .map(|q| &q[self.columns.clone()])
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
                    let out = &mut out[row * width..][..width];
                    out.iter_mut().for_each(|v| *v *= shrink);
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
                    first: 0,
                    stride: width,
                    add: before > 0,
                },
            );
            before += tokens;
        }
        for (row, softmax) in out.chunks_mut(width).zip(&softmaxes) {
            let inverse = softmax.inverse();
            row.iter_mut().for_each(|v| *v *= inverse);
        }
    }
}

/// Some columns of each token.
fn columns_of<'a, T>(tokens: &[&'a [T]], columns: &Range<usize>) -> Vec<&'a [T]> {
    let tokens = tokens.iter();
    tokens.map(|token| &token[columns.clone()]).collect()
}
