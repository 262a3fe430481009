//! Multi-head attention over keys and values that may lie in several blocks, without joining the blocks.
//!
//! Queries, keys and values keep the layout in which linear layers leave them, (B, L, C) with the heads side by side in
//! C, so that nothing is transposed. On a CPU one tile of queries at a time meets all its keys; a tile never spans two
//! candidates, so a result does not depend on how many there are.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::{
    cpu::{Values, is_cpu_f32, to_vec},
    elementary::softmax,
    gemm::{MatRef, Threads, gemm},
    panels::{Panels, Results, Rows},
};

/// Queries that are served together; 64 rows of scores against 10,000 keys are 2.5 MB, which a core's cache holds.
const TILE: usize = 64;

/// So many keys of heads so wide are packed anew for each tile; the products of more are left to the `gemm` crate.
const PACKED_KEYS: usize = 512;
const PACKED_WIDTH: usize = 64;

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
    // Tiles are cut candidate by candidate, so that each holds the same queries in any company.
    let mut tiles = Vec::new();
    for (candidate, (out, q)) in out.chunks_mut(l * c).zip(q.chunks(l * c)).enumerate() {
        for (i, (out, q)) in out.chunks_mut(TILE * c).zip(q.chunks(TILE * c)).enumerate() {
            tiles.push((candidate, i * TILE, q, out));
        }
    }
    tiles.into_par_iter().for_each(|(candidate, first, q, out)| {
        Tile { q, keys: &keys[candidate], heads, c, scale }.attend(out, bias.as_ref(), candidate, first);
    });
    Tensor::from_vec(out, (b, l, c), &device)
}

/// A block whose storage is open for reading.
struct OpenKv<'a> {
    k: Values<'a>,
    v: Values<'a>,
    tokens: usize,
}

impl<'a> OpenKv<'a> {
    fn all(blocks: &[&'a Kv]) -> Result<Vec<Self>> {
        let open = |kv: &&'a Kv| Ok(Self { k: Values::of(&kv.k)?, v: Values::of(&kv.v)?, tokens: kv.k.dims()[0] });
        blocks.iter().map(open).collect()
    }

    fn keys(&self) -> Keys<'_> {
        Keys { k: &self.k, v: &self.v, tokens: self.tokens }
    }
}

/// Keys and values of a block as slices.
struct Keys<'a> {
    k: &'a [f32],
    v: &'a [f32],
    tokens: usize,
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

/// Some queries of one candidate with all the keys that it sees.
struct Tile<'a> {
    q: &'a [f32],
    keys: &'a [Keys<'a>],
    heads: usize,
    c: usize,
    scale: f32,
}

impl Tile<'_> {
    fn attend(&self, out: &mut [f32], bias: Option<&Bias>, candidate: usize, first: usize) {
        let (width, tokens) = (self.c / self.heads, self.keys.iter().map(|keys| keys.tokens).sum::<usize>());
        if tokens <= PACKED_KEYS && width <= PACKED_WIDTH {
            return self.attend_packed(out, bias, candidate, first);
        }
        let rows = self.q.len() / self.c;
        let mut scores = vec![0.0; rows * tokens];
        for head in 0..self.heads {
            let at = head * width;
            let q = MatRef::strided(&self.q[at..], (rows, width), (self.c, 1));
            let mut from = 0;
            for keys in self.keys {
                let k = MatRef::strided(&keys.k[at..], (keys.tokens, width), (self.c, 1)).transposed();
                gemm(q, k, &mut scores[from..], tokens, false, Threads::One);
                from += keys.tokens;
            }
            for (i, row) in scores.chunks_mut(tokens).enumerate() {
                softmax(row, self.scale, bias.map(|b| b.row([candidate, head, first + i])));
            }
            let mut from = 0;
            for (i, keys) in self.keys.iter().enumerate() {
                let p = MatRef::strided(&scores[from..], (rows, keys.tokens), (tokens, 1));
                let v = MatRef::strided(&keys.v[at..], (keys.tokens, width), (self.c, 1));
                gemm(p, v, &mut out[at..], self.c, i > 0, Threads::One);
                from += keys.tokens;
            }
        }
    }

    /// The same for few keys: those of a head are packed together, whatever blocks they come from.
    fn attend_packed(&self, out: &mut [f32], bias: Option<&Bias>, candidate: usize, first: usize) {
        let (width, count) = (self.c / self.heads, self.q.len() / self.c);
        let mut scores = Vec::new();
        for at in (0..self.heads).map(|head| head * width) {
            let keys = Panels::from_columns(self.keys.iter().map(|keys| &keys.k[at..]), self.c, width);
            let tokens = keys.outputs();
            scores.resize(count * tokens, 0.0);
            let rows = Rows { values: self.q, first: at, stride: self.c, taps: &[0], count };
            for panel in 0..keys.count() {
                let first = keys.columns(&(panel..panel + 1)).start;
                keys.multiply(panel, rows, Results { values: &mut scores, first, stride: tokens, add: false });
            }
            for (i, row) in scores.chunks_mut(tokens).enumerate() {
                softmax(row, self.scale, bias.map(|b| b.row([candidate, at / width, first + i])));
            }
            let values = Panels::from_rows(self.keys.iter().map(|keys| &keys.v[at..]), self.c, width);
            let rows = Rows { values: &scores, first: 0, stride: tokens, taps: &[0], count };
            for panel in 0..values.count() {
                let first = at + values.columns(&(panel..panel + 1)).start;
                values.multiply(panel, rows, Results { values: out, first, stride: self.c, add: false });
            }
        }
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
    use candle_core::Device;

    fn random(shape: (usize, usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn blocks_give_what_joined_keys_give() {
        let (heads, c) = (3, 15);
        let q = random((4, 70, c));
        let blocks = [1, 66, 5, 5].map(|t| {
            let random = || random((1, t, c)).squeeze(0).unwrap();
            Kv { k: random(), v: random() }
        });
        let [a, b, own, other] = &blocks;
        let seen = [vec![a, b, own], vec![a, b, other], vec![a, b, own], vec![a, b, other]];
        let bias = Tensor::randn(0f32, 1.0, (1, heads, 1, 72), &Device::Cpu).unwrap();
        let ours = attention_blocks(&q, &seen, heads, 0.7, Some(&bias)).unwrap();
        let theirs = joined(&q, &seen, heads, 0.7, Some(&bias)).unwrap();
        assert!(difference(&ours, &theirs) < 1e-5);
    }

    #[test]
    fn many_and_few_keys_match_the_library() {
        for (l, tokens, width) in [(1, 1, 4), (3, 40, 32), (130, 70, 33), (5, 600, 8), (7, 20, 80)] {
            let (q, k, v) = (random((2, l, 2 * width)), random((2, tokens, 2 * width)), random((2, tokens, 2 * width)));
            let own: Vec<Kv> = (0..2).map(|b| Kv { k: k.get(b).unwrap(), v: v.get(b).unwrap() }).collect();
            let own: Vec<Vec<&Kv>> = own.iter().map(|kv| vec![kv]).collect();
            let ours = attention_blocks(&q, &own, 2, 0.3, None).unwrap();
            assert!(difference(&ours, &joined(&q, &own, 2, 0.3, None).unwrap()) < 1e-5, "{l} {tokens} {width}");
        }
    }

    #[test]
    fn a_candidate_gives_the_same_bits_alone_and_in_company() {
        let (q, k, v) = (random((5, 90, 8)), random((5, 33, 8)), random((5, 33, 8)));
        let together = attention(&q, &k, &v, 2, 1.0, None).unwrap();
        for i in 0..5 {
            let [q, k, v, expected] = [&q, &k, &v, &together].map(|x| x.narrow(0, i, 1).unwrap());
            assert_eq!(difference(&attention(&q, &k, &v, 2, 1.0, None).unwrap(), &expected), 0.0);
        }
    }
}
