//! Activations between linear layers, on all threads of a CPU, one vector at a time.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use crate::nn::cpu::{
    elementary::{Map, erf, map, sigmoid},
    is_cpu_f32, map_chunks,
    simd::Lanes,
};

/// The activation of a hidden layer, under the names that Hugging Face configurations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * Phi(x)` with the normal distribution (BERT, DINOv2, BLIP, Swin).
    Gelu,
    /// The same by the tanh formula (T5, Infinity, SigLIP).
    #[serde(rename = "gelu_pytorch_tanh", alias = "gelu_new")]
    GeluTanh,
    /// `x * sigmoid(1.702 x)` (OpenAI's CLIP).
    QuickGelu,
    /// `x * sigmoid(x)` (DINOv2's gated layers, VAEs).
    #[serde(alias = "swish")]
    Silu,
    /// `max(x, 0)` (DETR and its descendants).
    Relu,
}

impl Activation {
    /// Any shape -> the same shape.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if is_cpu_f32(x) {
            return map_chunks(x, |x, out| {
                out.copy_from_slice(x);
                self.apply(out);
            });
        }
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Silu => x.silu(),
            Self::Relu => x.relu(),
        }
    }

    /// Replaces values by their activations, on this thread.
    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            Self::Gelu => map(values, Gelu),
            Self::GeluTanh => map(values, GeluTanh),
            Self::QuickGelu => map(values, Swish(1.702)),
            Self::Silu => map(values, Swish(1.0)),
            Self::Relu => map(values, Relu),
        }
    }
}

/// `x (1 + erf(x / sqrt 2)) / 2`
pub(super) struct Gelu;

impl Map for Gelu {
    #[inline(always)]
    fn map<L: Lanes>(&self, x: L) -> L {
        let simd = x.detected();
        let half = x.mul(L::splat(simd, 0.5));
        half.mul_add(
            erf(x.mul(L::splat(simd, std::f32::consts::FRAC_1_SQRT_2))),
            half,
        )
    }
}

/// `x (1 + tanh(u)) / 2`, where `(1 + tanh(u)) / 2` is `sigmoid(2 u)`.
pub(super) struct GeluTanh;

impl Map for GeluTanh {
    #[inline(always)]
    fn map<L: Lanes>(&self, x: L) -> L {
        const SQRT_2_OVER_PI: f32 = 0.797_884_6;
        let simd = x.detected();
        let inner = x
            .mul(x)
            .mul_add(L::splat(simd, 0.044_715), L::splat(simd, 1.0));
        let factor = L::splat(simd, 2.0 * SQRT_2_OVER_PI);
        x.mul(sigmoid(x.mul(factor).mul(inner)))
    }
}

/// `x sigmoid(s x)`
pub(super) struct Swish(pub f32);

impl Map for Swish {
    #[inline(always)]
    fn map<L: Lanes>(&self, x: L) -> L {
        let factor = L::splat(x.detected(), self.0);
        x.mul(sigmoid(x.mul(factor)))
    }
}

/// `max(x, 0)`
pub(super) struct Relu;

impl Map for Relu {
    #[inline(always)]
    fn map<L: Lanes>(&self, x: L) -> L {
        x.at_least(L::splat(x.detected(), 0.0))
    }
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
        use Activation::{Gelu, GeluTanh, QuickGelu, Relu, Silu};
        for activation in [Gelu, GeluTanh, QuickGelu, Silu, Relu] {
            let expected = activation.forward(&wide).unwrap();
            let found = activation
                .forward(&x)
                .unwrap()
                .to_dtype(DType::F64)
                .unwrap();
            let worst = (found - expected)
                .unwrap()
                .abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f64>()
                .unwrap();
            assert!(worst < 2e-6, "{activation:?}: {worst:e}");
        }
    }
}
