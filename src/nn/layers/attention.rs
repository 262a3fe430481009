//! Multi-head attention over keys and values that may lie in several blocks, without joining the
//! blocks.
//!
//! Queries, keys and values keep the layout in which linear layers leave them, (B, L, C) with the
//! heads side by side in C, so that nothing is transposed. On a CPU, the keys and values of a head are
//! packed in segments when its turn comes; one tile of queries at a time meets one segment after the
//! other, and no more than a tile's scores against a segment are ever held. Each query is treated by itself, so a
//! result is batch-invariant.

use std::{ops::Range, ptr};

use candle_core::{D, DType, Result, Tensor};
use half::bf16;
use rayon::prelude::*;

use crate::nn::{
    Kv,
    cpu::{
        Values, is_cpu_f32,
        segments::{Head, TILE, TileBuffers},
        stored::Stored,
        to_vec,
    },
};

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
    let k = k.contiguous()?;
    let v = v.contiguous()?;
    let rows = (0..q.dims()[0])
        .map(|b| {
            Ok(Kv {
                k: k.get(b)?,
                v: v.get(b)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let seen: Vec<Vec<&Kv>> = rows.iter().map(|kv| vec![kv]).collect();
    attention_blocks(q, &seen, heads, scale, bias)
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
        #[cfg(feature = "cuda")]
        if let (None, Some(out)) = (bias, crate::nn::cuda::attention(q, seen, heads, scale)?) {
            return Ok(out);
        }
        return joined(q, seen, heads, scale, bias, MOST_SCORES);
    }
    match seen.iter().flatten().next().map(|kv| kv.k.dtype()) {
        Some(DType::BF16) => packed::<bf16>(q, seen, heads, scale, bias),
        _ => packed::<f32>(q, seen, heads, scale, bias),
    }
}

/// The same on a CPU, for keys and values of type `T`.
fn packed<T: Stored>(
    q: &Tensor,
    seen: &[Vec<&Kv>],
    heads: usize,
    scale: f32,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (b, l, c) = q.dims3()?;
    if heads == 0 || c == 0 || !c.is_multiple_of(heads) {
        candle_core::bail!("{heads} heads do not divide {c} values");
    }
    if seen.len() != b {
        candle_core::bail!("{} lists of tokens for {b} candidates", seen.len());
    }
    let device = q.device().clone();
    let q = q.contiguous()?;
    let mut out = f32::zeros(b * l * c);
    let q = Values::from_f32(&q)?;
    let bias = bias.map(Bias::new).transpose()?;
    groups(&q, &mut out, seen, l * c)
        .into_par_iter()
        .try_for_each(|(first, q, out)| {
            let keys = values::<T>(&seen[first], |kv| &kv.k)?;
            let values = values::<T>(&seen[first], |kv| &kv.v)?;
            let group = Group {
                q,
                keys: tokens(&keys, c),
                values: tokens(&values, c),
                sizes: [l, c, heads],
                scale,
            };
            let bias = |[candidate, head, row]: [usize; 3]| {
                let bias = bias.as_ref()?;
                Some(bias.row([first + candidate, head, row]))
            };
            group.attend(out, bias);
            Result::Ok(())
        })?;
    Tensor::from_vec(out, (b, l, c), &device)
}

/// The keys or values of all blocks, (T, C) each.
fn values<'a, T: Stored>(
    blocks: &[&'a Kv],
    part: impl Fn(&'a Kv) -> &'a Tensor,
) -> Result<Vec<Values<'a, T>>> {
    let parts = blocks.iter().map(|kv| Values::from_tensor(part(kv)));
    parts.collect()
}

/// The tokens of blocks, one after the other, `c` values each.
fn tokens<'a, T: Stored>(blocks: &'a [Values<T>], c: usize) -> Vec<&'a [T]> {
    let blocks = blocks.iter();
    blocks.flat_map(|block| block.chunks_exact(c)).collect()
}

/// The queries of candidates that see the very same tokens.
struct Group<'a, T> {
    q: &'a [f32],         // (candidates, L, C)
    keys: Vec<&'a [T]>,   // (T, C)
    values: Vec<&'a [T]>, // (T, C)
    /// L, C and the number of heads.
    sizes: [usize; 3],
    scale: f32,
}

impl<T: Stored> Group<'_, T> {
    /// Writes the results (candidates, L, C). The keys and values of a head are packed only when its
    /// turn comes: all queries use them at once, and few heads take memory at a time.
    fn attend<'b>(&self, out: &mut [f32], bias: impl Fn([usize; 3]) -> Option<&'b [f32]> + Sync) {
        let [l, c, heads] = self.sizes;
        let width = c / heads;
        let tile = l.div_ceil(l.div_ceil(TILE).max(1)).max(1); // tiles of about the same height
        let mut of_heads = f32::zeros(out.len()); // (heads, candidates, L, width)
        let of_head = (out.len() / heads).max(1);
        let parts = of_heads.par_chunks_mut(of_head).enumerate();
        parts.for_each(|(number, out)| {
            let columns = number * width..(number + 1) * width;
            let head = Head::pack(&self.keys, &self.values, columns);
            let candidates = out.par_chunks_mut(l * width).zip(self.q.par_chunks(l * c));
            candidates.enumerate().for_each(|(candidate, (out, q))| {
                let tiles = out.par_chunks_mut(tile * width).zip(q.par_chunks(tile * c));
                let tiles = tiles.enumerate();
                tiles.for_each_init(TileBuffers::default, |buffers, (i, (out, q))| {
                    head.attend((q, c), out, buffers, self.scale, |row| {
                        bias([candidate, number, i * tile + row])
                    });
                });
            });
        });
        out.par_chunks_mut(c).enumerate().for_each(|(row, out)| {
            for (head, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&of_heads[head * of_head + row * width..][..width]);
            }
        });
    }
}

/// Runs of candidates that see the very same blocks, which are packed once: the number of the
/// first, the queries and space for the results of all, `width` values each.
fn groups<'a>(
    mut q: &'a [f32],
    mut out: &'a mut [f32],
    seen: &[Vec<&Kv>],
    width: usize,
) -> Vec<(usize, &'a [f32], &'a mut [f32])> {
    let alike = |a: &Vec<&Kv>, b: &Vec<&Kv>| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| ptr::eq(*a, *b))
    };
    let mut first = 0;
    let mut found = Vec::new();
    for group in seen.chunk_by(alike) {
        let (own_q, rest_q) = q.split_at(group.len() * width);
        let (own_out, rest_out) = out.split_at_mut(group.len() * width);
        found.push((first, own_q, own_out));
        (q, out) = (rest_q, rest_out);
        first += group.len();
    }
    found
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
        let strides = [
            step(b, h * l * tokens),
            step(h, l * tokens),
            step(l, tokens),
        ];
        Ok(Self {
            values: to_vec(bias)?,
            strides,
            tokens,
        })
    }

    /// Over all tokens.
    fn row(&self, at: [usize; 3]) -> &[f32] {
        let start: usize = at
            .iter()
            .zip(self.strides)
            .map(|(i, stride)| i * stride)
            .sum();
        &self.values[start..start + self.tokens]
    }
}

/// The most scores that the tensor library may hold at a time; 512 MB in bf16.
const MOST_SCORES: usize = 1 << 28;

/// The same by the tensor library, on any device: the blocks are joined temporarily. Where there
/// would be more than `most` scores, or candidates see different numbers of tokens, candidates run
/// one after the other, and each of them a few queries at a time.
fn joined(
    q: &Tensor,
    seen: &[Vec<&Kv>],
    heads: usize,
    scale: f32,
    bias: Option<&Tensor>,
    most: usize,
) -> Result<Tensor> {
    let (b, l, c) = q.dims3()?;
    let tokens = |blocks: &Vec<&Kv>| blocks.iter().map(|kv| kv.k.dims()[0]).sum();
    let per_query = heads * seen.first().map_or(0, tokens).max(1);
    let alike = seen
        .windows(2)
        .all(|pair| tokens(&pair[0]) == tokens(&pair[1]));
    if b > 1 && (!alike || b * l * per_query > most) {
        let candidate = |i: usize| {
            let bias = bias.map(|bias| bias_part(bias, 0, i..i + 1)).transpose()?;
            joined(
                &q.narrow(0, i, 1)?,
                &seen[i..=i],
                heads,
                scale,
                bias.as_ref(),
                most,
            )
        };
        return Tensor::cat(&(0..b).map(candidate).collect::<Result<Vec<_>>>()?, 0);
    }
    let split = |x: &Tensor| {
        x.reshape((b, x.dims()[1], heads, c / heads))?
            .transpose(1, 2)?
            .contiguous()
    };
    let join = |part: fn(&Kv) -> &Tensor| {
        let joined_blocks = |blocks: &Vec<&Kv>| {
            Tensor::cat(&blocks.iter().map(|kv| part(kv)).collect::<Vec<_>>(), 0)?
                .to_dtype(q.dtype())
        };
        split(&Tensor::stack(
            &seen.iter().map(joined_blocks).collect::<Result<Vec<_>>>()?,
            0,
        )?) // (B, H, T, D)
    };
    let q = split(q)?;
    let k = join(|kv| &kv.k)?.t()?;
    let v = join(|kv| &kv.v)?;
    let at_once = (most / (b * per_query)).clamp(1, l.max(1));
    let chunk = |from: usize| {
        let rows = from..l.min(from + at_once);
        // (B, H, rows, T)
        let mut scores = (q.narrow(2, from, rows.len())?.matmul(&k)? * f64::from(scale))?;
        if let Some(bias) = bias {
            scores = scores.broadcast_add(&bias_part(bias, 2, rows)?)?;
        }
        let scores = scores
            .broadcast_sub(&scores.max_keepdim(D::Minus1)?)?
            .exp()?;
        scores
            .broadcast_div(&scores.sum_keepdim(D::Minus1)?)?
            .matmul(&v) // (B, H, rows, D)
    };
    let chunks = (0..l)
        .step_by(at_once)
        .map(chunk)
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&chunks, 2)?.transpose(1, 2)?.reshape((b, l, c))
}

/// A part of an axis of a bias, unless the bias is the same all along it.
fn bias_part(bias: &Tensor, axis: usize, part: Range<usize>) -> Result<Tensor> {
    if bias.dims()[axis] == 1 {
        Ok(bias.clone())
    } else {
        bias.narrow(axis, part.start, part.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};

    #[test]
    fn blocks_give_what_joined_keys_give() {
        let noise = Noise::seeded(1);
        let heads = 3;
        let c = 15;
        let q = noise.tensor((4, 70, c));
        let blocks = [1, 66, 5, 5].map(|t| {
            let [k, v] = [noise.tensor((t, c)), noise.tensor((t, c))];
            Kv { k, v }
        });
        let [a, b, own, other] = &blocks;
        let seen = [
            vec![a, b, own],
            vec![a, b, other],
            vec![a, b, own],
            vec![a, b, other],
        ];
        let bias = noise.tensor((1, heads, 1, 72));
        let ours = attention_blocks(&q, &seen, heads, 0.7, Some(&bias)).unwrap();
        for most in [MOST_SCORES, 1000, 1] {
            let theirs = joined(&q, &seen, heads, 0.7, Some(&bias), most).unwrap();
            assert!(difference(&ours, &theirs) < 1e-5, "{most} scores at a time");
        }
    }

    #[test]
    fn candidates_may_see_different_numbers_of_tokens() {
        let noise = Noise::seeded(6);
        let q = noise.tensor((2, 3, 8));
        let [short, long] = [5, 9].map(|t| Kv {
            k: noise.tensor((t, 8)),
            v: noise.tensor((t, 8)),
        });
        let seen = [vec![&short], vec![&short, &long]];
        let ours = attention_blocks(&q, &seen, 2, 0.7, None).unwrap();
        assert!(
            difference(
                &ours,
                &joined(&q, &seen, 2, 0.7, None, MOST_SCORES).unwrap()
            ) < 1e-5
        );
    }

    #[test]
    fn many_and_few_keys_match_the_library() {
        let noise = Noise::seeded(2);
        for (l, tokens, width) in [
            (1, 1, 4),
            (3, 40, 32),
            (130, 70, 33),
            (5, 1300, 8),
            (7, 512, 80),
        ] {
            let [q, k, v] = [l, tokens, tokens].map(|rows| noise.tensor((2, rows, 2 * width)));
            let rows: Vec<Kv> = (0..2)
                .map(|b| Kv {
                    k: k.get(b).unwrap(),
                    v: v.get(b).unwrap(),
                })
                .collect();
            let seen: Vec<Vec<&Kv>> = rows.iter().map(|kv| vec![kv]).collect();
            let ours = attention_blocks(&q, &seen, 2, 0.3, None).unwrap();
            assert!(
                difference(
                    &ours,
                    &joined(&q, &seen, 2, 0.3, None, MOST_SCORES).unwrap()
                ) < 1e-5,
                "{l} {tokens} {width}"
            );
        }
    }

    #[test]
    fn in_bf16_queries_keys_values_and_weights_are_rounded_and_sums_are_not() {
        let noise = Noise::seeded(4);
        for (tokens, c) in [(600, 12), (33, 15)] {
            let kv = Kv {
                k: noise.tensor((tokens, c)),
                v: noise.tensor((tokens, c)),
            }
            .to_dtype(DType::BF16)
            .unwrap();
            let q = noise.tensor((1, 9, c));
            let rounded = kv.to_dtype(DType::F32).unwrap();
            let ours = attention_blocks(&q, &[vec![&kv]], 3, 0.4, None).unwrap();
            let q = q
                .to_dtype(DType::BF16)
                .unwrap()
                .to_dtype(DType::F32)
                .unwrap();
            let theirs = attention_blocks(&q, &[vec![&rounded]], 3, 0.4, None).unwrap();
            let most = rounded
                .v
                .abs()
                .unwrap()
                .flatten_all()
                .unwrap()
                .max(0)
                .unwrap()
                .to_scalar::<f32>()
                .unwrap();
            // What is left is the rounding of the weights: by 2^-9 of each at most, and they add up
            // to 1.
            let apart = difference(&ours, &theirs);
            assert!(
                apart > 0.0 && apart <= most / 512.0 + 1e-6,
                "{tokens}, {c}: {apart}"
            );
        }
    }

    #[test]
    fn a_token_that_is_masked_does_not_count_even_if_its_whole_segment_is() {
        let noise = Noise::seeded(5);
        let [q, k, v] = [3, 700, 700].map(|rows| noise.tensor((1, rows, 8)));
        let mask: Vec<f32> = (0..700)
            .map(|t| if t < 600 { f32::NEG_INFINITY } else { 0.0 })
            .collect();
        let mask = Tensor::from_vec(mask, (1, 1, 1, 700), q.device()).unwrap();
        let ours = attention(&q, &k, &v, 2, 1.0, Some(&mask)).unwrap();
        let [k, v] = [&k, &v].map(|x| x.narrow(1, 600, 100).unwrap());
        assert!(difference(&ours, &attention(&q, &k, &v, 2, 1.0, None).unwrap()) < 1e-6);
    }

    #[test]
    fn results_are_batch_invariant() {
        let noise = Noise::seeded(3);
        let [q, k, v] = [90, 33, 33].map(|rows| noise.tensor((5, rows, 8)));
        let batch = attention(&q, &k, &v, 2, 1.0, None).unwrap();
        for i in 0..5 {
            let [q, k, v, expected] = [&q, &k, &v, &batch].map(|x| x.narrow(0, i, 1).unwrap());
            assert_eq!(
                difference(&attention(&q, &k, &v, 2, 1.0, None).unwrap(), &expected),
                0.0
            );
        }
    }
}
