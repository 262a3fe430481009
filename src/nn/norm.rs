//! Normalisations over the last axis, a row at a time, in one pass over memory.

use candle_core::{D, DType, Result, Tensor};

use super::{
    Weights,
    cpu::{is_cpu_f32, map_rows, to_vec},
};

/// Layer normalisation with a learned scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// `weight` and `bias` of `width` values below `w`.
    pub fn load(w: &Weights, width: usize, eps: f32) -> crate::Result<Self> {
        Ok(Self { weight: w.get(width, "weight")?, bias: w.get(width, "bias")?, eps })
    }

    /// (..., width) -> (..., width)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if is_cpu_f32(x) {
            let (weight, bias) = (to_vec(&self.weight)?, to_vec(&self.bias)?);
            return map_rows(x, weight.len(), |row, out| {
                let (mean, inverse) = moments(row, self.eps);
                for (((o, v), w), b) in out.iter_mut().zip(row).zip(&weight).zip(&bias) {
                    *o = (v - mean) * inverse * w + b;
                }
            });
        }
        normalise(x, self.eps)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// Layer normalisation whose scale and shift come from outside: `LN(x) * (1 + scale) + shift`.
///
/// `x` is (B, L, C); `scale` and `shift` are (C), the same for all rows.
pub fn modulate(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32) -> Result<Tensor> {
    if is_cpu_f32(x) {
        let (scale, shift) = (to_vec(scale)?, to_vec(shift)?);
        return map_rows(x, scale.len(), |row, out| {
            let (mean, inverse) = moments(row, eps);
            for (((o, v), s), b) in out.iter_mut().zip(row).zip(&scale).zip(&shift) {
                *o = (v - mean) * inverse * (1.0 + s) + b;
            }
        });
    }
    normalise(x, eps)?.broadcast_mul(&(scale + 1.0)?)?.broadcast_add(shift)
}

/// Root-mean-square normalisation with a learned scale (T5; Infinity's `text_norm`).
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// `weight` of `width` values below `w`.
    pub fn load(w: &Weights, width: usize, eps: f32) -> crate::Result<Self> {
        Ok(Self { weight: w.get(width, "weight")?, eps })
    }

    /// (..., width) -> (..., width)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if is_cpu_f32(x) {
            let weight = to_vec(&self.weight)?;
            return map_rows(x, weight.len(), |row, out| {
                let power = row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
                let inverse = (power + self.eps).sqrt().recip();
                for ((o, v), w) in out.iter_mut().zip(row).zip(&weight) {
                    *o = v * inverse * w;
                }
            });
        }
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let power = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(power + f64::from(self.eps))?.sqrt()?)?;
        x.to_dtype(dtype)?.broadcast_mul(&self.weight)
    }
}

/// Mean and inverse standard deviation of a row.
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = row.iter().sum::<f32>() / count;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / count;
    (mean, (variance + eps).sqrt().recip())
}

/// Layer normalisation without scale and shift, by the tensor library, computed in f32.
fn normalise(x: &Tensor, eps: f32) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?.to_dtype(dtype)
}
