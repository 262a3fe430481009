//! Multi-head attention over keys and values that may lie in several blocks, without joining the blocks.
//!
//! Queries, keys and values keep the layout in which linear layers leave them, (B, L, C) with the heads side by side in
//! C, so that nothing is transposed. On a CPU the keys and values of a head are packed in segments; one tile of queries at
//! a time meets one segment after the other, and no more than a tile's scores against a segment are ever held. Each query
//! is treated by itself, so a result does not depend on its company.

use std::{ops::Range, ptr};

use candle_core::{D, DType, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::{
    cpu::{Values, is_cpu_f32, to_vec},
    panels::{Panels, Results, Rows},
    softmax::RunningSoftmax,
    stored::Weight,
};

/// Queries that are served together.
const TILE: usize = 48;

/// Keys of a segment; with a tile of queries they make 96 KiB of scores, which stay in a core's cache.
const SEGMENT: usize = 512;

/// Keys and values of some tokens of one candidate.
#[derive(Clone, Debug)]
pub struct Kv {
    /// (T, C), contiguous, f32 or bf16
    pub k: Tensor,
    /// (T, C), contiguous, of the same type
    pub v: Tensor,
}

impl Kv {
    /// The same, rounded to `dtype`.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self { k: self.k.to_dtype(dtype)?, v: self.v.to_dtype(dtype)? })
    }
}

/// `softmax(scale * q k^T + bias) v` for each head: q (B, L, C), k and v (B, T, C) -> (B, L, C).
///
/// `bias` is (B or 1, heads or 1, L or 1, T).
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    scale: f32,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (k, v) = (k.contiguous()?, v.contiguous()?);
    let own = (0..q.dims()[0]).map(|b| Ok(Kv { k: k.get(b)?, v: v.get(b)? })).collect::<Result<Vec<_>>>()?;
    let own: Vec<Vec<&Kv>> = own.iter().map(|kv| vec![kv]).collect();
    attention_blocks(q, &own, heads, scale, bias)
}

/// [`attention`] in which candidate `b` sees the blocks `seen[b]` one after the other.
pub fn attention_blocks(
    q: &Tensor,
    seen: &[Vec<&Kv>],
    heads: usize,
    scale: f32,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    if !is_cpu_f32(q) {
        return joined(q, seen, heads, scale, bias);
    }
    let (b, l, c) = q.dims3()?;
    let device = q.device().clone();
    let (q, mut out) = (q.contiguous()?, vec![0.0; b * l * c]);
    let (q, bias) = (Values::of(&q)?, bias.map(Bias::new).transpose()?);
    groups(&q, &mut out, seen, l * c).into_par_iter().try_for_each(|(first, q, out)| {
        let heads = Head::all(&seen[first], heads, c)?;
        let candidates = out.par_chunks_mut((l * c).max(1)).zip(q.par_chunks((l * c).max(1)));
        candidates.enumerate().for_each(|(candidate, (out, q))| {
            let tiles = out.par_chunks_mut(TILE * c).zip(q.par_chunks(TILE * c)).enumerate();
            tiles.for_each(|(tile, (out, q))| {
                let mut scores = vec![0.0; q.len() / c * SEGMENT];
                for (number, head) in heads.iter().enumerate() {
                    let at = |row: usize| [first + candidate, number, tile * TILE + row];
                    head.attend(q, out, &mut scores, scale, |row| bias.as_ref().map(|bias| bias.row(at(row))));
                }
            });
        });
        Result::Ok(())
    })?;
    Tensor::from_vec(out, (b, l, c), &device)
}

/// Runs of candidates that see the very same blocks, which are packed once: the number of the first, the queries and room
/// for the results of all, `width` values each.
fn groups<'a>(
    mut q: &'a [f32],
    mut out: &'a mut [f32],
    seen: &[Vec<&Kv>],
    width: usize,
) -> Vec<(usize, &'a [f32], &'a mut [f32])> {
    let alike = |a: &Vec<&Kv>, b: &Vec<&Kv>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| ptr::eq(*a, *b));
    let (mut first, mut found) = (0, Vec::new());
    for group in seen.chunk_by(alike) {
        let (own_q, rest_q) = q.split_at(group.len() * width);
        let (own_out, rest_out) = out.split_at_mut(group.len() * width);
        found.push((first, own_q, own_out));
        (q, out) = (rest_q, rest_out);
        first += group.len();
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
        fn append<T: Weight>(rows: &[T], columns: &Range<usize>, c: usize, to: &mut Vec<f32>) {
            rows.chunks_exact(c).for_each(|row| to.extend(row[columns.clone()].iter().map(|v| v.value())));
        }
        match self {
            Self::F32(values) => append(&values[rows.start * c..rows.end * c], columns, c, to),
            Self::Bf16(values) => append(&values[rows.start * c..rows.end * c], columns, c, to),
        }
    }
}

/// An additive term of the scores, broadcast over any of its first three axes.
struct Bias {
    values: Vec<f32>,
    strides: [usize; 3],
    tokens: usize,
}

impl Bias {
    fn new(bias: &Tensor) -> Result<Self> {
        let (b, h, l, tokens) = bias.dims4()?;
        let step = |size: usize, stride: usize| if size == 1 { 0 } else { stride };
        let strides = [step(b, h * l * tokens), step(h, l * tokens), step(l, tokens)];
        Ok(Self { values: to_vec(bias)?, strides, tokens })
    }

    /// Over all tokens.
    fn row(&self, at: [usize; 3]) -> &[f32] {
        let start: usize = at.iter().zip(self.strides).map(|(i, stride)| i * stride).sum();
        &self.values[start..start + self.tokens]
    }
}

/// The keys and values of one head, whatever blocks they come from.
struct Head {
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
    fn all(blocks: &[&Kv], heads: usize, c: usize) -> Result<Vec<Self>> {
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

    /// Some queries (rows, C) of a candidate; `scores` is room for a tile against a segment.
    fn attend<'b>(
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

/// Blocks of so many tokens cut and joined into segments, each given by its pieces.
fn segments(blocks: impl Iterator<Item = usize>) -> Vec<Vec<Piece>> {
    let mut found: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0;
    for (block, tokens) in blocks.enumerate() {
        let mut from = 0;
        while from < tokens {
            if room == 0 {
                found.push(Vec::new());
                room = SEGMENT;
            }
            let to = tokens.min(from + room);
            found.last_mut().into_iter().for_each(|pieces| pieces.push((block, from..to)));
            room -= to - from;
            from = to;
        }
    }
    found
}

/// The same by the tensor library, on any device: the blocks are joined for the moment.
fn joined(q: &Tensor, seen: &[Vec<&Kv>], heads: usize, scale: f32, bias: Option<&Tensor>) -> Result<Tensor> {
    let (b, l, c) = q.dims3()?;
    let split = |x: &Tensor| x.reshape((b, x.dims()[1], heads, c / heads))?.transpose(1, 2)?.contiguous();
    let join = |of: fn(&Kv) -> &Tensor| {
        let one = |blocks: &Vec<&Kv>| {
            Tensor::cat(&blocks.iter().map(|kv| of(kv)).collect::<Vec<_>>(), 0)?.to_dtype(q.dtype())
        };
        split(&Tensor::stack(&seen.iter().map(one).collect::<Result<Vec<_>>>()?, 0)?) // (B, H, T, D)
    };
    let (q, k, v) = (split(q)?, join(|kv| &kv.k)?, join(|kv| &kv.v)?);
    let mut scores = (q.matmul(&k.t()?)? * f64::from(scale))?; // (B, H, L, T)
    if let Some(bias) = bias {
        scores = scores.broadcast_add(bias)?;
    }
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let p = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
    p.matmul(&v)?.transpose(1, 2)?.reshape((b, l, c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};

    #[test]
    fn blocks_give_what_joined_keys_give() {
        let (noise, heads, c) = (Noise::seeded(1), 3, 15);
        let q = noise.of((4, 70, c));
        let blocks = [1, 66, 5, 5].map(|t| {
            let [k, v] = [noise.of((t, c)), noise.of((t, c))];
            Kv { k, v }
        });
        let [a, b, own, other] = &blocks;
        let seen = [vec![a, b, own], vec![a, b, other], vec![a, b, own], vec![a, b, other]];
        let bias = noise.of((1, heads, 1, 72));
        let ours = attention_blocks(&q, &seen, heads, 0.7, Some(&bias)).unwrap();
        let theirs = joined(&q, &seen, heads, 0.7, Some(&bias)).unwrap();
        assert!(difference(&ours, &theirs) < 1e-5);
    }

    #[test]
    fn many_and_few_keys_match_the_library() {
        let noise = Noise::seeded(2);
        for (l, tokens, width) in [(1, 1, 4), (3, 40, 32), (130, 70, 33), (5, 1300, 8), (7, 512, 80)] {
            let [q, k, v] = [l, tokens, tokens].map(|rows| noise.of((2, rows, 2 * width)));
            let own: Vec<Kv> = (0..2).map(|b| Kv { k: k.get(b).unwrap(), v: v.get(b).unwrap() }).collect();
            let own: Vec<Vec<&Kv>> = own.iter().map(|kv| vec![kv]).collect();
            let ours = attention_blocks(&q, &own, 2, 0.3, None).unwrap();
            assert!(difference(&ours, &joined(&q, &own, 2, 0.3, None).unwrap()) < 1e-5, "{l} {tokens} {width}");
        }
    }

    #[test]
    fn keys_and_values_in_bf16_are_met_as_they_were_rounded() {
        let noise = Noise::seeded(4);
        let kv = Kv { k: noise.of((600, 12)), v: noise.of((600, 12)) }.to_dtype(DType::BF16).unwrap();
        let (q, rounded) = (noise.of((1, 9, 12)), kv.to_dtype(DType::F32).unwrap());
        let ours = attention_blocks(&q, &[vec![&kv]], 3, 0.4, None).unwrap();
        let theirs = attention_blocks(&q, &[vec![&rounded]], 3, 0.4, None).unwrap();
        assert_eq!(difference(&ours, &theirs), 0.0);
    }

    #[test]
    fn a_token_that_is_masked_does_not_count_even_if_its_whole_segment_is() {
        let noise = Noise::seeded(5);
        let [q, k, v] = [3, 700, 700].map(|rows| noise.of((1, rows, 8)));
        let mask: Vec<f32> = (0..700).map(|t| if t < 600 { f32::NEG_INFINITY } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (1, 1, 1, 700), q.device()).unwrap();
        let ours = attention(&q, &k, &v, 2, 1.0, Some(&mask)).unwrap();
        let [k, v] = [&k, &v].map(|x| x.narrow(1, 600, 100).unwrap());
        assert!(difference(&ours, &attention(&q, &k, &v, 2, 1.0, None).unwrap()) < 1e-6);
    }

    #[test]
    fn a_candidate_gives_the_same_bits_alone_and_in_company() {
        let noise = Noise::seeded(3);
        let [q, k, v] = [90, 33, 33].map(|rows| noise.of((5, rows, 8)));
        let together = attention(&q, &k, &v, 2, 1.0, None).unwrap();
        for i in 0..5 {
            let [q, k, v, expected] = [&q, &k, &v, &together].map(|x| x.narrow(0, i, 1).unwrap());
            assert_eq!(difference(&attention(&q, &k, &v, 2, 1.0, None).unwrap(), &expected), 0.0);
        }
    }
}
