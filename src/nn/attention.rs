//! Multi-head attention over keys and values that may lie in several blocks, without joining the blocks.
//!
//! Queries, keys and values keep the layout in which linear layers leave them, (B, L, C) with the heads side by side in
//! C, so that nothing is transposed. On a CPU the keys and values of a candidate's heads are packed once, then one tile of
//! queries at a time meets them all; each query is treated by itself, so a result does not depend on its company.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::{
    cpu::{Values, is_cpu_f32, to_vec},
    elementary::softmax,
    panels::{Panels, Results, Rows},
};

/// Queries that are served together; their scores against 10,000 keys are 2 MB.
const TILE: usize = 48;

/// Keys and values of some tokens of one candidate.
#[derive(Clone, Debug)]
pub struct Kv {
    /// (T, C), contiguous
    pub k: Tensor,
    /// (T, C), contiguous
    pub v: Tensor,
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
    let seen: Vec<_> = seen.iter().map(|blocks| OpenKv::all(blocks)).collect::<Result<_>>()?;
    let keys: Vec<Vec<Keys>> = seen.iter().map(|blocks| blocks.iter().map(OpenKv::keys).collect()).collect();
    let candidates = out.par_chunks_mut((l * c).max(1)).zip(q.par_chunks((l * c).max(1))).enumerate();
    candidates.for_each(|(candidate, (out, q))| {
        let heads = Head::all(&keys[candidate], heads, c);
        let tiles = out.par_chunks_mut(TILE * c).zip(q.par_chunks(TILE * c)).enumerate();
        tiles.for_each(|(i, (out, q))| {
            let mut scores = Vec::new();
            for (number, head) in heads.iter().enumerate() {
                let bias = |row: usize| bias.as_ref().map(|bias| bias.row([candidate, number, i * TILE + row]));
                head.attend(q, out, &mut scores, scale, bias);
            }
        });
    });
    Tensor::from_vec(out, (b, l, c), &device)
}

/// A block whose storage is open for reading.
struct OpenKv<'a> {
    k: Values<'a>,
    v: Values<'a>,
}

impl<'a> OpenKv<'a> {
    fn all(blocks: &[&'a Kv]) -> Result<Vec<Self>> {
        let open = |kv: &&'a Kv| Ok(Self { k: Values::of(&kv.k)?, v: Values::of(&kv.v)? });
        blocks.iter().map(open).collect()
    }

    fn keys(&self) -> Keys<'_> {
        Keys { k: &self.k, v: &self.v }
    }
}

/// Keys and values of a block as slices.
struct Keys<'a> {
    k: &'a [f32],
    v: &'a [f32],
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

    fn row(&self, at: [usize; 3]) -> &[f32] {
        let start: usize = at.iter().zip(self.strides).map(|(i, stride)| i * stride).sum();
        &self.values[start..start + self.tokens]
    }
}

/// The keys and values of one candidate's head, packed together whatever blocks they come from.
struct Head {
    keys: Panels,   // width -> tokens
    values: Panels, // tokens -> width
    /// Where the head lies in C.
    at: usize,
    c: usize,
}

impl Head {
    fn all(blocks: &[Keys], heads: usize, c: usize) -> Vec<Self> {
        let width = c / heads;
        let head = |head: usize| {
            let at = head * width;
            let keys = Panels::from_columns(blocks.iter().map(|keys| &keys.k[at..]), c, width);
            let values = Panels::from_rows(blocks.iter().map(|keys| &keys.v[at..]), c, width);
            Self { keys, values, at, c }
        };
        (0..heads).into_par_iter().map(head).collect()
    }

    /// Some queries (rows, C) of the candidate; `scores` is room that is used again.
    fn attend<'b>(
        &self,
        q: &[f32],
        out: &mut [f32],
        scores: &mut Vec<f32>,
        scale: f32,
        bias: impl Fn(usize) -> Option<&'b [f32]>,
    ) {
        let (count, tokens) = (q.len() / self.c, self.keys.outputs());
        scores.resize(count * tokens, 0.0);
        let rows = Rows { values: q, first: self.at, stride: self.c, taps: &[0], count };
        self.keys.multiply_all(rows, Results { values: scores, first: 0, stride: tokens, add: false });
        for (i, row) in scores.chunks_mut(tokens.max(1)).enumerate() {
            softmax(row, scale, bias(i));
        }
        let rows = Rows { values: scores, first: 0, stride: tokens, taps: &[0], count };
        self.values.multiply_all(rows, Results { values: out, first: self.at, stride: self.c, add: false });
    }
}

/// The same by the tensor library, on any device: the blocks are joined for the moment.
fn joined(q: &Tensor, seen: &[Vec<&Kv>], heads: usize, scale: f32, bias: Option<&Tensor>) -> Result<Tensor> {
    let (b, l, c) = q.dims3()?;
    let split = |x: &Tensor| x.reshape((b, x.dims()[1], heads, c / heads))?.transpose(1, 2)?.contiguous();
    let join = |of: fn(&Kv) -> &Tensor| {
        let one = |blocks: &Vec<&Kv>| Tensor::cat(&blocks.iter().map(|kv| of(kv)).collect::<Vec<_>>(), 0);
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
        for (l, tokens, width) in [(1, 1, 4), (3, 40, 32), (130, 70, 33), (5, 600, 8), (7, 20, 80)] {
            let [q, k, v] = [l, tokens, tokens].map(|rows| noise.of((2, rows, 2 * width)));
            let own: Vec<Kv> = (0..2).map(|b| Kv { k: k.get(b).unwrap(), v: v.get(b).unwrap() }).collect();
            let own: Vec<Vec<&Kv>> = own.iter().map(|kv| vec![kv]).collect();
            let ours = attention_blocks(&q, &own, 2, 0.3, None).unwrap();
            assert!(difference(&ours, &joined(&q, &own, 2, 0.3, None).unwrap()) < 1e-5, "{l} {tokens} {width}");
        }
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
