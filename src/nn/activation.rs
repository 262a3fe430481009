//! The bends between linear layers, on all threads of a CPU, a value at a time.

use candle_core::{Result, Tensor};

use super::cpu::{is_cpu_f32, map_rows};

/// Which function bends a hidden layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * Phi(x)` with the normal distribution (BERT, DINOv2, BLIP, Swin).
    Gelu,
    /// The same by the tanh formula (T5, Infinity, SigLIP).
    GeluTanh,
    /// `x * sigmoid(1.702 x)` (OpenAI's CLIP).
    QuickGelu,
    /// `x * sigmoid(x)` (DINOv2's gated layers, VAEs).
    Silu,
}

impl Activation {
    /// Any shape -> the same shape.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if is_cpu_f32(x) {
            let map = |f: fn(f32) -> f32| {
                map_rows(x, x.dims().last().copied().unwrap_or(1), move |row, out| {
                    out.iter_mut().zip(row).for_each(|(out, &v)| *out = f(v));
                })
            };
            return match self {
                Self::Gelu => map(gelu),
                Self::GeluTanh => map(gelu_tanh),
                Self::QuickGelu => map(|v| v * sigmoid(1.702 * v)),
                Self::Silu => map(|v| v * sigmoid(v)),
            };
        }
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Silu => x.silu(),
        }
    }
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1. + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `(1 + tanh(u)) / 2` is `sigmoid(2 u)`.
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    x * sigmoid(2. * SQRT_2_OVER_PI * x * (1. + 0.044_715 * x * x))
}

pub(super) fn sigmoid(x: f32) -> f32 {
    (1. + (-x).exp()).recip()
}

/// The error function by the ratio of two polynomials that Eigen uses for f32; within 4e-7, without branches.
#[inline]
fn erf(x: f32) -> f32 {
    const ALPHA: [f32; 7] =
        [-2.726_142_3e-10, 2.770_681_4e-8, -2.101_024e-6, -5.692_506_5e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2];
    const BETA: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = x.clamp(-4., 4.); // erf(4) is 1 in f32
    let square = x * x;
    let horner = |coefficients: &[f32]| coefficients.iter().fold(0., |sum, c| sum * square + c);
    (x * horner(&ALPHA) / horner(&BETA)).clamp(-1., 1.)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn activations_match_their_definitions() {
        let x: Vec<f32> = (-12_000..12_000).map(|i| i as f32 * 1e-3).collect();
        let x = Tensor::from_vec(x, (6, 4000), &Device::Cpu).unwrap();
        let wide = x.to_dtype(DType::F64).unwrap(); // goes through the tensor library
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Silu] {
            let expected = activation.forward(&wide).unwrap();
            let found = activation.forward(&x).unwrap().to_dtype(DType::F64).unwrap();
            let worst = (found - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(worst < 2e-6, "{activation:?}: {worst:e}");
        }
    }
}
