//! The layers that encoder and decoder share.

use candle_core::{Result, Tensor};

use super::T5Sizes;
use crate::nn::{Activation, Linear, Weights, attention};

/// Attention without biases and without 1/sqrt(d).
pub(super) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
}

impl Attention {
    pub(super) fn load(w: &Weights, sizes: &T5Sizes) -> crate::Result<Self> {
        let T5Sizes { width, inner, .. } = *sizes;
        Ok(Self {
            q: Linear::load_no_bias(&w.pp("q"), width, inner)?,
            k: Linear::load_no_bias(&w.pp("k"), width, inner)?,
            v: Linear::load_no_bias(&w.pp("v"), width, inner)?,
            o: Linear::load_no_bias(&w.pp("o"), inner, width)?,
        })
    }

    /// Queries from `x` (B, L, width), keys and values from `memory` (B, T, width) ->
    /// (B, L, width); `bias` is (1, heads or 1, L or 1, T).
    pub(super) fn forward(
        &self,
        x: &Tensor,
        memory: &Tensor,
        heads: usize,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let q = self.q.forward(x)?;
        let k = self.k.forward(memory)?;
        let v = self.v.forward(memory)?;
        self.o.forward(&attention(&q, &k, &v, heads, 1.0, bias)?)
    }
}

/// The gated feed-forward.
pub(super) struct FeedForward {
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
}

impl FeedForward {
    pub(super) fn load(w: &Weights, sizes: &T5Sizes) -> crate::Result<Self> {
        let T5Sizes { width, hidden, .. } = *sizes;
        Ok(Self {
            wi_0: Linear::load_no_bias(&w.pp("wi_0"), width, hidden)?,
            wi_1: Linear::load_no_bias(&w.pp("wi_1"), width, hidden)?,
            wo: Linear::load_no_bias(&w.pp("wo"), hidden, width)?,
        })
    }

    /// (B, L, width) -> (B, L, width)
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate = Activation::GeluTanh.forward(&self.wi_0.forward(x)?)?;
        self.wo.forward(&(gate * self.wi_1.forward(x)?)?)
    }
}
