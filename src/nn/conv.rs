//! Convolutions and the normalisation that goes with them, on feature maps (B, C, H, W).

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::{
    Weights,
    activation::sigmoid,
    cpu::{Values, is_cpu_f32, to_vec},
    gemm::{MatRef, Threads, gemm},
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
        if is_cpu_f32(x) && self.stride == 1 {
            return self.forward_cpu(&x.contiguous()?);
        }
        x.conv2d(&self.weight, self.padding, self.stride, 1, 1)?.broadcast_add(&self.bias)
    }

    /// Unfolds a band of output rows at a time, so that a band is one product with the kernel, its size the same for
    /// any number of pictures and threads.
    fn forward_cpu(&self, x: &Tensor) -> Result<Tensor> {
        let (b, _, h, w) = x.dims4()?;
        let (outputs, inputs, size, _) = self.weight.dims4()?;
        let window = Window { inputs, size, padding: self.padding, h, w };
        let (out_h, out_w) = (window.out(h), window.out(w));
        let (weight, bias) = (self.weight.contiguous()?, to_vec(&self.bias)?);
        let (weight, values) = (Values::of(&weight)?, Values::of(x)?);
        let (weight, values): (&[f32], &[f32]) = (&weight, &values);
        let rows = (BAND / out_w).clamp(1, out_h);
        let bands = out_h.div_ceil(rows);
        let band = |i: usize| {
            let (picture, first) = (i / bands, i % bands * rows);
            let picture = &values[picture * inputs * h * w..][..inputs * h * w];
            let count = rows.min(out_h - first);
            let unfolded = window.unfold(picture, first, count);
            let (n, k) = (count * out_w, inputs * size * size);
            let mut out = vec![0.0; outputs * n];
            out.chunks_mut(n).zip(&bias).for_each(|(row, bias)| row.fill(*bias));
            let (weight, unfolded) = (MatRef::rows(weight, (outputs, k)), MatRef::rows(&unfolded, (k, n)));
            gemm(weight, unfolded, &mut out, n, true, Threads::One);
            out
        };
        let done: Vec<Vec<f32>> = (0..b * bands).into_par_iter().map(band).collect();
        let mut out = vec![0.0; b * outputs * out_h * out_w];
        out.par_chunks_mut(out_h * out_w).enumerate().for_each(|(i, plane)| {
            let (picture, channel) = (i / outputs, i % outputs);
            for (plane, band) in plane.chunks_mut(rows * out_w).zip(&done[picture * bands..]) {
                plane.copy_from_slice(&band[channel * plane.len()..][..plane.len()]);
            }
        });
        Tensor::from_vec(out, (b, outputs, out_h, out_w), x.device())
    }
}

/// Output pixels that are computed together, about; their unfolded inputs (9 C values each) stay in a core's cache.
const BAND: usize = 512;

/// What each output pixel of a convolution with stride 1 sees.
struct Window {
    inputs: usize,
    size: usize,
    padding: usize,
    h: usize,
    w: usize,
}

impl Window {
    fn out(&self, side: usize) -> usize {
        side + 2 * self.padding + 1 - self.size
    }

    /// For `count` output rows from `first` on, what the kernel meets: (inputs * size * size, count * width), zero
    /// where it reaches over the border.
    fn unfold(&self, picture: &[f32], first: usize, count: usize) -> Vec<f32> {
        let width = self.out(self.w);
        let mut unfolded = vec![0.0; self.inputs * self.size * self.size * count * width];
        for (i, out) in unfolded.chunks_mut(count * width).enumerate() {
            let (channel, down, right) = (i / (self.size * self.size), i / self.size % self.size, i % self.size);
            let plane = &picture[channel * self.h * self.w..][..self.h * self.w];
            let left = self.padding.saturating_sub(right); // output columns before the picture begins
            let from = (left + right).saturating_sub(self.padding);
            let columns = (width - left).min(self.w - from.min(self.w));
            for (j, out) in out.chunks_mut(width).enumerate() {
                let row = (first + j + down).checked_sub(self.padding).filter(|row| *row < self.h);
                if let Some(row) = row {
                    out[left..left + columns].copy_from_slice(&plane[row * self.w + from..][..columns]);
                }
            }
        }
        unfolded
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn random(shape: (usize, usize, usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn convolutions_match_the_library_for_odd_shapes() {
        for (size, padding, h, w) in [(3, 1, 1, 1), (3, 1, 37, 41), (1, 0, 5, 7), (3, 0, 4, 9), (3, 1, 2, 600)] {
            let bias = Tensor::randn(0f32, 1.0, (1, 6, 1, 1), &Device::Cpu).unwrap();
            let conv = Conv2d { weight: random((6, 5, size, size)), bias, stride: 1, padding };
            let x = random((2, 5, h, w));
            let expected = x.conv2d(&conv.weight, padding, 1, 1, 1).unwrap().broadcast_add(&conv.bias).unwrap();
            let difference = (conv.forward(&x).unwrap() - expected).unwrap().abs().unwrap();
            assert!(difference.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-4, "{size} {padding} {h} {w}");
        }
    }
}
