//! Multi-head attention with queries, keys and values from different places: PyTorch's
//! `MultiheadAttention`.

use candle_core::{Result, Tensor};

use crate::nn::{Linear, Weights, attention};

/// The layer; its four projections are of one width.
#[derive(Clone, Debug)]
pub struct CrossAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl CrossAttention {
    /// `q_proj`, `k_proj`, `v_proj` and `out_proj` below `w`.
    pub fn load_apart(w: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        let linear = |name: &str| Linear::load(&w.pp(name), width, width);
        let [q_proj, k_proj, v_proj, out_proj] =
            ["q_proj", "k_proj", "v_proj", "out_proj"].map(linear);
        Ok(Self {
            q_proj: q_proj?,
            k_proj: k_proj?,
            v_proj: v_proj?,
            out_proj: out_proj?,
            heads,
        })
    }

    /// The same where the first three are one tensor, `in_proj_weight` (3 width, width) with
    /// `in_proj_bias`.
    pub fn load_joined(w: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        let weight = w.get((3 * width, width), "in_proj_weight")?;
        let bias = w.get(3 * width, "in_proj_bias")?;
        let part = |i: usize| -> crate::Result<Linear> {
            let part = |x: &Tensor| x.narrow(0, i * width, width);
            Linear::from_tensors(w, part(&weight)?, Some(part(&bias)?))
        };
        let out_proj = Linear::load(&w.pp("out_proj"), width, width)?;
        Ok(Self {
            q_proj: part(0)?,
            k_proj: part(1)?,
            v_proj: part(2)?,
            out_proj,
            heads,
        })
    }

    /// Queries (B, L, C), keys and values (B, T, C) -> (B, L, C); `bias` is added to the scores,
    /// see [`attention`].
    pub fn forward(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let q = self.q_proj.forward(q)?;
        let k = self.k_proj.forward(k)?;
        let v = self.v_proj.forward(v)?;
        let scale = ((self.q_proj.outputs() / self.heads) as f32).sqrt().recip();
        self.out_proj
            .forward(&attention(&q, &k, &v, self.heads, scale, bias)?)
    }

    /// Floating-point operations for `queries` tokens that look at `tokens` others.
    pub fn flops(&self, queries: usize, tokens: usize) -> f64 {
        let pairs = 4.0 * (queries * tokens * self.q_proj.outputs()) as f64;
        let asked = self.q_proj.flops(queries) + self.out_proj.flops(queries);
        asked + self.k_proj.flops(tokens) + self.v_proj.flops(tokens) + pairs
    }
}
