//! Queries, keys and values from one projection: L2 normalisation per head, temperature, 2-D
//! rotation.

use candle_core::{D, DType, Device, Result, Tensor, WithDType};
use half::bf16;
use rayon::prelude::*;

use crate::nn::{
    Kv,
    cpu::{
        Values, is_cpu_f32,
        simd::{Kernel, Lanes, RUNNING_STEP, Running, dispatch},
        stored::Stored,
    },
};

const NORM_EPS: f32 = 1e-12; // PyTorch's F.normalize

/// Angles of one grid of tokens: pairs of neighbouring values turn, the first half of the pairs by
/// the row of the token, the second half by its column (Infinity, `precompute_rope2d_freqs_grid`).
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Tensor, // (L, D / 2)
    sin: Tensor, // (L, D / 2)
}

impl Rope {
    /// For a grid of `size` (rows, columns) whose positions are stretched onto the grid `onto`, and
    /// heads of `width`.
    pub fn new(
        size: (usize, usize),
        onto: (usize, usize),
        width: usize,
        device: &Device,
    ) -> Result<Self> {
        let quarter = width / 4;
        let frequency = |m: usize| 10_000f32.powf(-((2 * m) as f32) / (width / 2) as f32);
        let turn = |index: usize, size: usize, onto: usize| {
            (index as f32 * (onto as f32 / size as f32)).round_ties_even()
        };
        let mut angles = Vec::with_capacity(size.0 * size.1 * 2 * quarter);
        for row in 0..size.0 {
            for column in 0..size.1 {
                let at = [turn(row, size.0, onto.0), turn(column, size.1, onto.1)];
                angles.extend(
                    at.iter()
                        .flat_map(|at| (0..quarter).map(move |m| at * frequency(m))),
                );
            }
        }
        let angles = Tensor::from_vec(angles, (size.0 * size.1, 2 * quarter), device)?;
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }

    /// No rotation of `tokens` tokens in heads of `width`, for models without rotary embedding.
    pub fn none(tokens: usize, width: usize, device: &Device) -> Result<Self> {
        Ok(Self {
            cos: Tensor::ones((tokens, width / 2), DType::F32, device)?,
            sin: Tensor::zeros((tokens, width / 2), DType::F32, device)?,
        })
    }

    /// Cosines and sines, each (L, D / 2)
    #[cfg(any(feature = "cuda", all(test, target_os = "linux", target_env = "gnu")))]
    pub(crate) fn angles(&self) -> [&Tensor; 2] {
        [&self.cos, &self.sin]
    }
}

/// Splits a projection (R, L, 3C) into queries (R, L, C) and the keys and values of each of the R
/// rows. Queries and keys are normalised per head, queries multiplied by their head's
/// `temperature`, then both rotated; values stay as they are. Keys and values are rounded to
/// `kept_as`.
pub fn split_and_rotate(
    qkv: &Tensor,
    temperature: &[f32],
    rope: &Rope,
    kept_as: DType,
) -> Result<(Tensor, Vec<Kv>)> {
    if is_cpu_f32(qkv) {
        let qkv = qkv.contiguous()?;
        return match kept_as {
            DType::BF16 => split_and_rotate_cpu::<bf16>(&qkv, temperature, rope),
            _ => split_and_rotate_cpu::<f32>(&qkv, temperature, rope),
        };
    }
    #[cfg(feature = "cuda")]
    if let Some((q, kv)) = crate::nn::cuda::split_and_rotate(qkv, temperature, rope)? {
        return Ok((q, rounded(kv, kept_as)?));
    }
    let (r, l, c3) = qkv.dims3()?;
    let heads = temperature.len();
    let c = c3 / 3;
    let part = |i: usize| qkv.narrow(2, i * c, c)?.reshape((r, l, heads, c / heads));
    let scale = Tensor::new(temperature, qkv.device())?.reshape((1, 1, heads, 1))?;
    let q = turned(&normalised(&part(0)?)?.broadcast_mul(&scale)?, rope)?
        .to_dtype(qkv.dtype())?
        .reshape((r, l, c))?;
    let k = turned(&normalised(&part(1)?)?, rope)?
        .to_dtype(qkv.dtype())?
        .reshape((r, l, c))?;
    let v = qkv.narrow(2, 2 * c, c)?;
    // Each row's own copy: a row that is dropped frees its memory.
    let kv = (0..r).map(|i| {
        Ok(Kv {
            k: k.get(i)?.force_contiguous()?,
            v: v.get(i)?.force_contiguous()?,
        })
    });
    Ok((q, rounded(kv.collect::<Result<_>>()?, kept_as)?))
}

fn rounded(kv: Vec<Kv>, dtype: DType) -> Result<Vec<Kv>> {
    kv.iter().map(|kv| kv.to_dtype(dtype)).collect()
}

fn split_and_rotate_cpu<T: Stored + WithDType>(
    qkv: &Tensor,
    temperature: &[f32],
    rope: &Rope,
) -> Result<(Tensor, Vec<Kv>)> {
    let (r, l, c3) = qkv.dims3()?;
    let c = c3 / 3;
    let device = qkv.device();
    let cos = Values::from_f32(&rope.cos)?;
    let sin = Values::from_f32(&rope.sin)?;
    let [cos, sin]: [&[f32]; 2] = [&cos, &sin];
    let heads = temperature.len();
    let half = cos.len() / l.max(1); // angles of a token
    if heads == 0 || 2 * heads * half != c || cos.len() != l * half {
        candle_core::bail!(
            "projections of {:?} do not fit {heads} heads and angles of {:?}",
            [r, l, c3],
            rope.cos.dims()
        );
    }
    let qkv = Values::from_f32(qkv)?;
    let mut q = f32::zeros(r * l * c);
    let mut kv: Vec<_> = (0..r).map(|_| [T::zeros(l * c), T::zeros(l * c)]).collect();
    let together = TOKENS * c;
    let rows = q
        .par_chunks_mut(l * c)
        .zip(&mut kv)
        .zip(qkv.par_chunks(l * c3));
    rows.for_each(|((q, [k, v]), qkv)| {
        q.par_chunks_mut(together)
            .zip(k.par_chunks_mut(together))
            .zip(v.par_chunks_mut(together))
            .zip(qkv.par_chunks(3 * together))
            .enumerate()
            .for_each(|(i, (((q, k), v), qkv))| {
                dispatch(SplitAndRotate {
                    qkv,
                    temperature,
                    angles: [&cos[i * TOKENS * half..], &sin[i * TOKENS * half..]],
                    q,
                    k,
                    v,
                    c,
                });
            });
    });
    let tensor = |values| Tensor::from_vec(values, (l, c), device);
    let kv = kv.into_iter().map(|[k, v]| {
        Ok(Kv {
            k: tensor(k)?,
            v: tensor(v)?,
        })
    });
    let kv = kv.collect::<Result<_>>()?;
    Ok((Tensor::from_vec(q, (r, l, c), device)?, kv))
}

/// Tokens that one task splits and rotates.
const TOKENS: usize = 8;

/// Some tokens of one candidate.
struct SplitAndRotate<'a, T> {
    qkv: &'a [f32], // (tokens, 3C)
    temperature: &'a [f32],
    /// Cosines and sines, (tokens, D / 2) each; those of tokens behind these may follow.
    angles: [&'a [f32]; 2],
    q: &'a mut [f32], // (tokens, C)
    k: &'a mut [T],   // (tokens, C)
    v: &'a mut [T],   // (tokens, C)
    c: usize,
}

impl<T: Stored> Kernel for SplitAndRotate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        let c = self.c;
        let width = c / self.temperature.len();
        let half = width / 2;
        let mut turned = vec![0.0; c];
        for (t, from) in self.qkv.chunks_exact(3 * c).enumerate() {
            let cos = &self.angles[0][t * half..][..half];
            let sin = &self.angles[1][t * half..][..half];
            let token = t * c..(t + 1) * c;
            let q = &mut self.q[token.clone()];
            for (head, scale) in self.temperature.iter().enumerate() {
                let own = head * width..(head + 1) * width;
                let (of_q, of_k) = (&from[own.clone()], &from[c..][own.clone()]);
                turn_head::<L>(simd, of_q, *scale, [cos, sin], &mut q[own.clone()]);
                turn_head::<L>(simd, of_k, 1.0, [cos, sin], &mut turned[own]);
            }
            store::<L, T>(simd, &turned, &mut self.k[token.clone()]);
            store::<L, T>(simd, &from[2 * c..], &mut self.v[token]);
        }
    }
}

#[inline(always)]
fn store<L: Lanes, T: Stored>(simd: L::Detected, from: &[f32], to: &mut [T]) {
    for (from, to) in from.chunks(L::COUNT).zip(to.chunks_mut(L::COUNT)) {
        T::store(L::load_rest(simd, from, 0.0), to);
    }
}

/// `out = rotate(scale * x / |x|)`
#[inline(always)]
fn turn_head<L: Lanes>(
    simd: L::Detected,
    x: &[f32],
    scale: f32,
    [cos, sin]: [&[f32]; 2],
    out: &mut [f32],
) {
    let mut squares = Running::<L>::new(simd, 0.0);
    for part in x.chunks(RUNNING_STEP) {
        squares.update(part, 0.0, |sum, v| v.mul_add(v, sum));
    }
    let length = squares.fold(|a, b| a + b).sqrt().max(NORM_EPS);
    let scale = scale / length;
    let (x, _) = x.as_chunks::<2>();
    let (out, _) = out.as_chunks_mut::<2>();
    for (((out, [a, b]), cos), sin) in out.iter_mut().zip(x).zip(cos).zip(sin) {
        let a = a * scale;
        let b = b * scale;
        *out = [a * cos - b * sin, a * sin + b * cos];
    }
}

fn normalised(x: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F32)?;
    let length = x
        .sqr()?
        .sum_keepdim(D::Minus1)?
        .sqrt()?
        .maximum(f64::from(NORM_EPS))?;
    x.broadcast_div(&length)
}

/// x (R, L, H, D)
fn turned(x: &Tensor, rope: &Rope) -> Result<Tensor> {
    let (r, l, h, d) = x.dims4()?;
    let pairs = x.reshape((r, l, h, d / 2, 2))?;
    let a = pairs.narrow(4, 0, 1)?;
    let b = pairs.narrow(4, 1, 1)?; // (R, L, H, D / 2, 1)
    let [cos, sin] = [&rope.cos, &rope.sin].map(|t| t.reshape((1, l, 1, d / 2, 1)));
    let cos = cos?;
    let sin = sin?;
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    Tensor::cat(&[first, second], 4)?.reshape((r, l, h, d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};

    #[test]
    fn without_rotation_only_lengths_change() {
        let qkv = Noise::seeded(2).tensor((1, 5, 24));
        let none = Rope::none(5, 4, &Device::Cpu).unwrap();
        let (q, kv) = split_and_rotate(&qkv, &[2.0, 3.0], &none, DType::F32).unwrap();
        let heads = |x: &Tensor| normalised(&x.reshape((1, 5, 2, 4)).unwrap()).unwrap();
        assert!(difference(&heads(&q), &heads(&qkv.narrow(2, 0, 8).unwrap())) < 1e-6);
        let k = heads(&qkv.narrow(2, 8, 8).unwrap());
        assert!(difference(&kv[0].k, &k.reshape((5, 8)).unwrap()) < 1e-6);
    }

    #[test]
    fn both_paths_agree() {
        let qkv = Noise::seeded(1).tensor((3, 6, 48));
        let rope = Rope::new((2, 3), (8, 8), 8, &Device::Cpu).unwrap();
        let (q, kv) = split_and_rotate(&qkv, &[2.0, 3.0], &rope, DType::F32).unwrap();
        let part = |i: usize| {
            qkv.narrow(2, i * 16, 16)
                .unwrap()
                .reshape((3, 6, 2, 8))
                .unwrap()
        };
        let k = turned(&normalised(&part(1)).unwrap(), &rope)
            .unwrap()
            .reshape((3, 6, 16))
            .unwrap();
        assert!(difference(&kv[2].k, &k.get(2).unwrap()) < 1e-6);
        assert_eq!(
            difference(&kv[1].v, &qkv.narrow(2, 32, 16).unwrap().get(1).unwrap()),
            0.0
        );
        let lengths = q
            .reshape((3, 6, 2, 8))
            .unwrap()
            .sqr()
            .unwrap()
            .sum(3)
            .unwrap()
            .sqrt()
            .unwrap();
        let expected = Tensor::new(&[2f32, 3.0], &Device::Cpu)
            .unwrap()
            .broadcast_as((3, 6, 2))
            .unwrap();
        assert!(difference(&lengths, &expected) < 1e-5);
    }
}
