//! The keys and values of attention heads, packed in segments that tiles of queries meet one after the other.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::{
    attention::Kv,
    cpu::Values,
    panels::{Panels, Results, Rows},
    softmax::RunningSoftmax,
    stored::Stored,
};

/// Queries that are served together.
pub(super) const TILE: usize = 48;

/// Keys of a segment at most; with a tile of queries they make 96 KiB of scores, which stay in a core's cache.
pub(super) const SEGMENT: usize = 512;

/// Keys that fill vectors and panels on every machine.
const WHOLE: usize = 32;

/// The keys and values of one head, whatever blocks they come from.
pub(super) struct Head {
    segments: Vec<Segment>,
    /// Where the head lies in C.
    columns: Range<usize>,
    c: usize,
}

/// At most [`SEGMENT`] tokens of a head, packed.
struct Segment {
    keys: Panels,   // width -> tokens
    values: Panels, // tokens -> width
}

impl Head {
    /// All heads of a candidate that sees these blocks, of `c` values a token.
    pub fn all(blocks: &[&Kv], heads: usize, c: usize) -> Result<Vec<Self>> {
        let (k, v) = (Open::all(blocks, |kv| &kv.k)?, Open::all(blocks, |kv| &kv.v)?);
        let [k, v]: [Vec<Slice>; 2] = [&k, &v].map(|open| open.iter().map(Open::slice).collect());
        let segments = segments(blocks.iter().map(|kv| kv.k.dims()[0]));
        let width = c / heads;
        let head = |head: usize| {
            let columns = head * width..(head + 1) * width;
            let gather = |from: &[Slice], pieces: &[Piece]| {
                let mut all = Vec::with_capacity(SEGMENT * width);
                pieces.iter().for_each(|(block, rows)| from[*block].append(rows, &columns, c, &mut all));
                all
            };
            let pack = |pieces: &Vec<Piece>| Segment {
                keys: Panels::from_columns(&gather(&k, pieces), width),
                values: Panels::from_rows(&gather(&v, pieces), width),
            };
            Self { segments: segments.iter().map(pack).collect(), columns: columns.clone(), c }
        };
        Ok((0..heads).into_par_iter().map(head).collect())
    }

    /// Some queries (rows, C) of a candidate, [`TILE`] at most; `scores` is room for them against a segment.
    pub fn attend<'b>(
        &self,
        q: &[f32],
        out: &mut [f32],
        scores: &mut [f32],
        scale: f32,
        bias: impl Fn(usize) -> Option<&'b [f32]>,
    ) {
        let Self { columns, c, .. } = self;
        let count = q.len() / c;
        let mut softmaxes = [RunningSoftmax::NEW; TILE];
        let mut before = 0;
        for Segment { keys, values } in &self.segments {
            let tokens = keys.outputs();
            let scores = &mut scores[..count * tokens];
            let rows = Rows { values: q, first: columns.start, stride: *c, taps: &[0], count };
            keys.multiply_all(rows, Results { values: scores, first: 0, stride: tokens, add: false });
            for (row, (softmax, scores)) in softmaxes.iter_mut().zip(scores.chunks_mut(tokens)).enumerate() {
                let shrink = softmax.weigh(scores, scale, bias(row).map(|bias| &bias[before..before + tokens]));
                if before > 0 && shrink != 1.0 {
                    out[row * c..][columns.clone()].iter_mut().for_each(|v| *v *= shrink);
                }
            }
            let rows = Rows { values: scores, first: 0, stride: tokens, taps: &[0], count };
            values.multiply_all(rows, Results { values: out, first: columns.start, stride: *c, add: before > 0 });
            before += tokens;
        }
        for (row, softmax) in out.chunks_mut(*c).zip(&softmaxes) {
            let inverse = softmax.inverse();
            row[columns.clone()].iter_mut().for_each(|v| *v *= inverse);
        }
    }
}

/// Some tokens of a block.
type Piece = (usize, Range<usize>);

/// Blocks of so many tokens cut and joined into segments of about the same size, each given by its pieces.
fn segments(blocks: impl Iterator<Item = usize> + Clone) -> Vec<Vec<Piece>> {
    let tokens: usize = blocks.clone().sum();
    let size = tokens.div_ceil(tokens.div_ceil(SEGMENT).max(1)).next_multiple_of(WHOLE).min(SEGMENT);
    let mut found: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0;
    for (block, tokens) in blocks.enumerate() {
        let mut from = 0;
        while from < tokens {
            if room == 0 {
                found.push(Vec::new());
                room = size;
            }
            let to = tokens.min(from + room);
            found.last_mut().into_iter().for_each(|pieces| pieces.push((block, from..to)));
            room -= to - from;
            from = to;
        }
    }
    found
}

/// Keys or values of a block, open for reading.
enum Open<'a> {
    F32(Values<'a, f32>),
    Bf16(Values<'a, bf16>),
}

impl<'a> Open<'a> {
    fn new(x: &'a Tensor) -> Result<Self> {
        Ok(if x.dtype() == DType::BF16 { Self::Bf16(Values::stored(x)?) } else { Self::F32(Values::of(x)?) })
    }

    fn all(blocks: &[&'a Kv], of: fn(&Kv) -> &Tensor) -> Result<Vec<Self>> {
        blocks.iter().map(|kv| Self::new(of(kv))).collect()
    }

    fn slice(&self) -> Slice<'_> {
        match self {
            Self::F32(values) => Slice::F32(values),
            Self::Bf16(values) => Slice::Bf16(values),
        }
    }
}

/// Keys or values of a block in their type.
#[derive(Clone, Copy)]
enum Slice<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl Slice<'_> {
    /// Appends some columns of some rows of `c` values.
    fn append(self, rows: &Range<usize>, columns: &Range<usize>, c: usize, to: &mut Vec<f32>) {
        fn append<T: Stored>(rows: &[T], columns: &Range<usize>, c: usize, to: &mut Vec<f32>) {
            rows.chunks_exact(c).for_each(|row| to.extend(row[columns.clone()].iter().map(|v| v.value())));
        }
        match self {
            Self::F32(values) => append(&values[rows.start * c..rows.end * c], columns, c, to),
            Self::Bf16(values) => append(&values[rows.start * c..rows.end * c], columns, c, to),
        }
    }
}
