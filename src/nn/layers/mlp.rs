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
            Self::Plain { fc1, act, fc2 } => {
                Linear::forward_pair(fc1, Between::Activation(*act), fc2, x)
            }
            Self::SwiGlu { w12, w3 } => {
                Linear::forward_pair(w12, Between::Gate(Activation::Silu), w3, x)
            }
        }
    }

    /// Floating-point operations for this number of tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        let (Self::Plain { fc1: a, fc2: b, .. } | Self::SwiGlu { w12: a, w3: b }) = self;
        a.flops(tokens) + b.flops(tokens)
    }
}

/// What a feed-forward block does between its layers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Between {
    /// `act(x)`
    Activation(Activation),
    /// `act(a) * b` where a and b are the halves of x.
    Gate(Activation),
}

impl Between {
    /// Width of x where the result has this one.
    pub(super) fn width(self, result: usize) -> usize {
        match self {
            Self::Activation(_) => result,
            Self::Gate(_) => 2 * result,
        }
    }

    /// (..., width) -> (..., result)
    pub(super) fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Activation(act) => act.forward(x),
            Self::Gate(act) => {
                let halves = x.chunk(2, D::Minus1)?; // 2 x (..., result)
                act.forward(&halves[0])? * &halves[1]
            }
        }
    }

    /// The same on this thread: `rows` (rows, width) become (rows, result).
    pub(super) fn apply(self, rows: &mut Vec<f32>, result: usize) {
        let act = match self {
            Self::Activation(act) => return act.apply(rows),
            Self::Gate(act) => act,
        };
        let count = rows.len() / (2 * result).max(1);
        for i in 0..count {
            let row = 2 * i * result;
            let (a, b) = rows[row..][..2 * result].split_at_mut(result);
            act.apply(a);
            for (a, b) in a.iter_mut().zip(b) {
                *a *= *b;
            }
            rows.copy_within(row..row + result, i * result);
        }
        rows.truncate(count * result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::noise::{Noise, difference};
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

    #[test]
    fn many_rows_give_what_one_row_gives() {
        let noise = Noise::seeded(1);
        let linear = |inputs: usize, outputs: usize| {
            let weight = noise.tensor((outputs, inputs));
            Linear::new(weight, Some(noise.tensor(outputs))).unwrap()
        };
        let plain = Mlp::Plain {
            fc1: linear(24, 40),
            act: Activation::GeluTanh,
            fc2: linear(40, 24),
        };
        let gated = Mlp::SwiGlu {
            w12: linear(24, 80),
            w3: linear(40, 24),
        };
        let x = noise.tensor((1, 1500, 24));
        for mlp in [plain, gated] {
            let together = mlp.forward(&x).unwrap();
            for i in [0, 1, 700, 1499] {
                let alone = mlp.forward(&x.narrow(1, i, 1).unwrap()).unwrap();
                let same = together.narrow(1, i, 1).unwrap();
                assert_eq!(difference(&alone, &same), 0.0, "row {i} of {mlp:?}");
            }
        }
    }
}
