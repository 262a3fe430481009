//! Queries, keys and values from one projection: L2 normalisation per head, temperature, 2-D
//! rotation.

use candle_core::{D, DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::nn::{
    Kv,
    cpu::{Values, is_cpu_f32, stored::Stored},
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
/// `temperature`, then both rotated; values stay as they are.
pub fn split_and_rotate(
    qkv: &Tensor,
    temperature: &[f32],
    rope: &Rope,
) -> Result<(Tensor, Vec<Kv>)> {
    if is_cpu_f32(qkv) {
        return split_and_rotate_cpu(&qkv.contiguous()?, temperature, rope);
    }
    #[cfg(feature = "cuda")]
    if let Some(split) = crate::nn::cuda::split_and_rotate(qkv, temperature, rope)? {
        return Ok(split);
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
    Ok((q, kv.collect::<Result<_>>()?))
}

fn split_and_rotate_cpu(
    qkv: &Tensor,
    temperature: &[f32],
    rope: &Rope,
) -> Result<(Tensor, Vec<Kv>)> {
    let (r, l, c3) = qkv.dims3()?;
    let c = c3 / 3;
    let width = c3 / 3 / temperature.len();
    let cos = Values::from_f32(&rope.cos)?;
    let sin = Values::from_f32(&rope.sin)?;
    let cos: &[f32] = &cos;
    let sin: &[f32] = &sin;
    let device = qkv.device();
    let qkv = Values::from_f32(qkv)?;
    let mut q = f32::zeros(r * l * c);
    let mut kv: Vec<_> = (0..r)
        .map(|_| (f32::zeros(l * c), f32::zeros(l * c)))
        .collect();
    let half = width / 2;
    let rows = q
        .par_chunks_mut(l * c)
        .zip(kv.par_iter_mut())
        .zip(qkv.par_chunks(l * c3));
    rows.for_each(|((q, (k, v)), qkv)| {
        for (t, from) in qkv.chunks(c3).enumerate() {
            let angles = (
                &cos[t * half..(t + 1) * half],
                &sin[t * half..(t + 1) * half],
            );
            for (head, scale) in temperature.iter().enumerate() {
                let at = head * width;
                let to = t * c + at..t * c + at + width;
                turn_head(&from[at..at + width], *scale, angles, &mut q[to.clone()]);
                turn_head(&from[c + at..c + at + width], 1.0, angles, &mut k[to]);
            }
            v[t * c..(t + 1) * c].copy_from_slice(&from[2 * c..]);
        }
    });
    let tensor = |values| Tensor::from_vec(values, (l, c), device);
    let kv = kv
        .into_iter()
        .map(|(k, v)| {
            Ok(Kv {
                k: tensor(k)?,
                v: tensor(v)?,
            })
        })
        .collect::<Result<_>>()?;
    Ok((Tensor::from_vec(q, (r, l, c), device)?, kv))
}

/// `out = rotate(scale * x / |x|)`
fn turn_head(x: &[f32], scale: f32, (cos, sin): (&[f32], &[f32]), out: &mut [f32]) {
    let length = x.iter().map(|v| v * v).sum::<f32>().sqrt().max(NORM_EPS);
    let scale = scale / length;
    for (((out, x), cos), sin) in out.chunks_mut(2).zip(x.chunks(2)).zip(cos).zip(sin) {
        let a = x[0] * scale;
        let b = x[1] * scale;
        out[0] = a * cos - b * sin;
        out[1] = a * sin + b * cos;
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
        let (q, kv) = split_and_rotate(&qkv, &[2.0, 3.0], &none).unwrap();
        let heads = |x: &Tensor| normalised(&x.reshape((1, 5, 2, 4)).unwrap()).unwrap();
        assert!(difference(&heads(&q), &heads(&qkv.narrow(2, 0, 8).unwrap())) < 1e-6);
        let k = heads(&qkv.narrow(2, 8, 8).unwrap());
        assert!(difference(&kv[0].k, &k.reshape((5, 8)).unwrap()) < 1e-6);
    }

    #[test]
    fn both_paths_agree() {
        let qkv = Noise::seeded(1).tensor((3, 6, 48));
        let rope = Rope::new((2, 3), (8, 8), 8, &Device::Cpu).unwrap();
        let (q, kv) = split_and_rotate(&qkv, &[2.0, 3.0], &rope).unwrap();
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
