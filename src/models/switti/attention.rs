//! Attention to tokens and to the text, with queries and keys that are normalised before they are
//! split into heads.

use candle_core::{DType, Tensor};

use super::Config;
use crate::{
    Result,
    models::{
        branches::{row_kv, with_own},
        rotation::Rotation,
    },
    nn::{Kv, Linear, Weights, attention_blocks, modulate},
};

const EPS: f32 = 1e-6;

/// Layer normalisation of queries and keys over all heads, without weights.
#[derive(Clone, Debug)]
struct Norm {
    none: Tensor, // (C), zeros
}

impl Norm {
    fn new(w: &Weights, width: usize) -> Result<Self> {
        Ok(Self {
            none: Tensor::zeros(width, w.held_as(), w.device())?,
        })
    }

    /// (B, L, C) -> (B, L, C)
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        modulate(&x.contiguous()?, &self.none, &self.none, EPS)
    }
}

/// What both kinds of attention have.
#[derive(Clone, Debug)]
struct Heads {
    norm: Norm,
    count: usize,
    scale: f32,
    kept_as: DType, // of keys and values
}

impl Heads {
    fn new(w: &Weights, config: &Config) -> Result<Self> {
        let count = config.heads();
        Ok(Self {
            norm: Norm::new(w, config.width)?,
            count,
            scale: ((config.width / count) as f32).sqrt().recip(),
            kept_as: w.dtype().of_activations(),
        })
    }

    /// q (B, L, C), and what each row sees -> (B, L, C)
    fn attend(&self, q: &Tensor, seen: &[Vec<&Kv>]) -> candle_core::Result<Tensor> {
        attention_blocks(q, seen, self.count, self.scale, None)
    }
}

/// Attention within a scale, and to earlier ones if their keys and values are given.
#[derive(Clone, Debug)]
pub(super) struct SelfAttention {
    to_qkv: Linear,
    proj: Linear,
    heads: Heads,
}

impl SelfAttention {
    pub(super) fn load(w: &Weights, config: &Config) -> Result<Self> {
        let c = config.width;
        Ok(Self {
            to_qkv: Linear::load(&w.pp("to_qkv"), c, 3 * c)?,
            proj: Linear::load(&w.pp("proj"), c, c)?,
            heads: Heads::new(w, config)?,
        })
    }

    /// The type in which keys and values are kept.
    pub(super) fn kept_as(&self) -> DType {
        self.heads.kept_as
    }

    /// x (B, L, C) -> the same, and the keys and values of each row; `before[b]` are those of the
    /// earlier scales that row b sees.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        rotation: Option<&Rotation>,
        before: &[Vec<&Kv>],
    ) -> Result<(Tensor, Vec<Kv>)> {
        let qkv = self.to_qkv.forward(x)?.chunk(3, 2)?;
        let place = |x: &Tensor| {
            let x = self.heads.norm.forward(x)?;
            match rotation {
                Some(rotation) => rotation.forward(&x),
                None => Ok(x),
            }
        };
        let q = place(&qkv[0])?;
        let own = row_kv(&place(&qkv[1])?, &qkv[2], self.heads.kept_as)?;
        let out = self.heads.attend(&q, &with_own(before, &own))?; // (B, L, C)
        Ok((self.proj.forward(&out)?, own))
    }
}

/// Attention to the text.
#[derive(Clone, Debug)]
pub(super) struct CrossAttention {
    to_q: Linear,
    to_kv: Linear,
    proj: Linear,
    heads: Heads,
}

impl CrossAttention {
    pub(super) fn load(w: &Weights, config: &Config) -> Result<Self> {
        let c = config.width;
        Ok(Self {
            to_q: Linear::load(&w.pp("to_q"), c, c)?,
            to_kv: Linear::load(&w.pp("to_kv"), config.context_width, 2 * c)?,
            proj: Linear::load(&w.pp("proj"), c, c)?,
            heads: Heads::new(w, config)?,
        })
    }

    /// The keys and values of a normalised text (T, context width), the same for every candidate.
    pub(super) fn of_text(&self, text: &Tensor) -> Result<Kv> {
        let kv = self.to_kv.forward(&text.unsqueeze(0)?)?.chunk(2, 2)?;
        let k = self.heads.norm.forward(&kv[0])?;
        Ok(row_kv(&k, &kv[1], self.heads.kept_as)?.swap_remove(0))
    }

    /// x (B, L, C) -> (B, L, C), where row b sees `texts[b]`.
    pub(super) fn forward(&self, x: &Tensor, texts: &[Vec<&Kv>]) -> Result<Tensor> {
        let q = self.heads.norm.forward(&self.to_q.forward(x)?)?;
        Ok(self.proj.forward(&self.heads.attend(&q, texts)?)?)
    }
}
