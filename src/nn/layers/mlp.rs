//! The feed-forward layers of a transformer block.

use candle_core::{D, Result, Tensor};

use crate::nn::{Activation, Linear, Weights};

/// Two linear layers with an activation between them, plain or gated.
#[derive(Clone, Debug)]
pub enum Mlp {
    /// `fc2(act(fc1(x)))`
    Plain {
        /// width -> hidden
        fc1: Linear,
        /// The activation between them.
        act: Activation,
        /// hidden -> width
        fc2: Linear,
    },
    /// `w3(silu(a) * b)` where `w12(x)` is a and b, one behind the other (DINOv2's largest model,
    /// FlexTok).
    SwiGlu {
        /// width -> 2 hidden
        w12: Linear,
        /// hidden -> width
        w3: Linear,
    },
}

impl Mlp {
    /// `fc1` and `fc2` below `w`; the hidden width is read off the weights.
    pub fn load(w: &Weights, width: usize, act: Activation) -> crate::Result<Self> {
        Self::load_named(w, width, act, ["fc1", "fc2"])
    }

    /// The same under other names.
    pub fn load_named(
        w: &Weights,
        width: usize,
        act: Activation,
        [fc1, fc2]: [&str; 2],
    ) -> crate::Result<Self> {
        let [hidden, _] = w.dims(&format!("{fc1}.weight"))?;
        let fc1 = Linear::load(&w.pp(fc1), width, hidden)?;
        let fc2 = Linear::load(&w.pp(fc2), hidden, width)?;
        Ok(Self::Plain { fc1, act, fc2 })
    }

    /// The gated form from its two layers below `w`; the hidden width is read off the weights.
    pub fn load_gated(w: &Weights, width: usize, [w12, w3]: [&str; 2]) -> crate::Result<Self> {
        let [_, hidden] = w.dims(&format!("{w3}.weight"))?;
        let w12 = Linear::load(&w.pp(w12), width, 2 * hidden)?;
        Ok(Self::SwiGlu {
            w12,
            w3: Linear::load(&w.pp(w3), hidden, width)?,
        })
    }

    /// The gated form from three layers without biases below `w`: `silu(a(x)) * b(x)` goes through the
    /// third. The hidden width is read off the weights.
    pub fn load_gated_apart(
        w: &Weights,
        width: usize,
        [a, b, out]: [&str; 3],
    ) -> crate::Result<Self> {
        let [_, hidden] = w.dims(&format!("{out}.weight"))?;
        let part = |name: &str| w.pp(name).get((hidden, width), "weight");
        let w12 = Tensor::cat(&[part(a)?, part(b)?], 0)?;
        Ok(Self::SwiGlu {
            w12: Linear::from_tensors(w, w12, None)?,
            w3: Linear::load_no_bias(&w.pp(out), hidden, width)?,
        })
    }

    /// (B, L, width) -> (B, L, width)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain { fc1, act, fc2 } => Linear::forward_pair(fc1, *act, fc2, x),
            Self::SwiGlu { w12, w3 } => {
                let ab = w12.forward(x)?.chunk(2, D::Minus1)?; // 2 x (B, L, hidden)
                w3.forward(&(Activation::Silu.forward(&ab[0])? * &ab[1])?)
            }
        }
    }

    /// Floating-point operations for this number of tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        let (Self::Plain { fc1: a, fc2: b, .. } | Self::SwiGlu { w12: a, w3: b }) = self;
        a.flops(tokens) + b.flops(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_first_half_gates_the_second() {
        let tensor = |values: &[f32], shape: (usize, usize)| {
            Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
        };
        let w12 = Linear::new(tensor(&[1.0, 0.0, 0.0, 1.0], (2, 2)), None).unwrap();
        let mlp = Mlp::SwiGlu {
            w12,
            w3: Linear::new(tensor(&[1.0, 0.0], (2, 1)), None).unwrap(),
        };
        let y = mlp
            .forward(&tensor(&[2.0, 3.0], (1, 2)).unsqueeze(0).unwrap())
            .unwrap();
        let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((y[0] - 2.0 / (1.0 + (-2f32).exp()) * 3.0).abs() < 1e-6 && y[1] == 0.0);
    }
}
