//! Convolutions and the normalisation that goes with them, on feature maps (B, C, H, W).

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::{
    Weights,
    activation::sigmoid,
    cpu::{Values, is_cpu_f32, to_vec},
};

/// A 2-D convolution with bias and square kernel.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor, // (1, C, 1, 1)
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// `weight` (outputs, inputs, size, size) and `bias` below `w`; the sizes are the file's.
    pub fn load(w: &Weights, stride: usize, padding: usize) -> crate::Result<Self> {
        let [outputs, inputs, height, width] = w.dims("weight")?;
        let bias = w.get(outputs, "bias")?.reshape((1, outputs, 1, 1))?;
        Ok(Self { weight: w.get((outputs, inputs, height, width), "weight")?, bias, stride, padding })
    }

    /// Channels that come in.
    pub fn inputs(&self) -> usize {
        self.weight.dims()[1]
    }

    /// Channels that go out.
    pub fn outputs(&self) -> usize {
        self.weight.dims()[0]
    }

    /// Floating-point operations for so many output positions.
    pub fn flops(&self, positions: usize) -> f64 {
        2.0 * positions as f64 * self.weight.elem_count() as f64
    }

    /// (B, inputs, H, W) -> (B, outputs, H', W')
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?.broadcast_add(&self.bias)
    }
}

/// Group normalisation followed by SiLU.
#[derive(Clone, Debug)]
pub struct NormSilu {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f32,
}

impl NormSilu {
    /// `weight` and `bias` below `w`; `groups` is given the number of channels.
    pub fn load(w: &Weights, groups: impl Fn(usize) -> Option<usize>, eps: f32) -> crate::Result<Self> {
        let [channels] = w.dims("weight")?;
        let groups = groups(channels)
            .ok_or_else(|| w.mismatch("weight", "a number of channels that the groups divide", channels.to_string()))?;
        Ok(Self { weight: w.get(channels, "weight")?, bias: w.get(channels, "bias")?, groups, eps })
    }

    /// (B, C, H, W) -> (B, C, H, W)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let size = c / self.groups * h * w;
        if !is_cpu_f32(x) {
            let y = x.reshape((b * self.groups, size))?.to_dtype(DType::F32)?;
            let y = y.broadcast_sub(&y.mean_keepdim(1)?)?;
            let y = y.broadcast_div(&(y.sqr()?.mean_keepdim(1)? + f64::from(self.eps))?.sqrt()?)?;
            let y = y.reshape((b, c, h, w))?.to_dtype(x.dtype())?;
            let [weight, bias] = [&self.weight, &self.bias].map(|t| t.reshape((1, c, 1, 1)));
            return y.broadcast_mul(&weight?)?.broadcast_add(&bias?)?.silu();
        }
        let (x, weight, bias) = (x.contiguous()?, to_vec(&self.weight)?, to_vec(&self.bias)?);
        let mut out = vec![0.0; x.elem_count()];
        let values = Values::of(&x)?;
        out.par_chunks_mut(size).zip(values.par_chunks(size)).enumerate().for_each(|(i, (out, group))| {
            let (mean, inverse) = moments(group, self.eps);
            let first = i % self.groups * (c / self.groups);
            for (j, (out, plane)) in out.chunks_mut(h * w).zip(group.chunks(h * w)).enumerate() {
                let scale = inverse * weight[first + j];
                let shift = bias[first + j] - mean * scale;
                out.iter_mut().zip(plane).for_each(|(o, v)| {
                    let y = v * scale + shift;
                    *o = y * sigmoid(y);
                });
            }
        });
        Tensor::from_vec(out, x.dims(), x.device())
    }
}

/// Mean and inverse standard deviation; sums run in f64 since a group may hold a million values.
fn moments(values: &[f32], eps: f32) -> (f32, f32) {
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, ((variance + f64::from(eps)).sqrt().recip()) as f32)
}
