//! One block: self-attention, attention to the text, feed-forward, each between two norms.

use candle_core::Tensor;

use super::{
    Config,
    attention::{CrossAttention, SelfAttention},
};
use crate::{
    Result,
    models::{
        branches::{of_branches, per_branch},
        qwen2::gated_mlp,
        rotation::Rotation,
    },
    nn::{Activation, Kv, Linear, Mlp, RmsNorm, Weights, residual},
};

const EPS: f32 = 1e-6;

/// A place in a block at which its values may be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the block reads.
    Input,
    /// The result of self-attention, before it is normalised and added.
    SelfAttention,
    /// The result of attention to the text, before it is normalised and added.
    CrossAttention,
    /// The result of the feed-forward layers, before it is normalised and added.
    FeedForward,
    /// What the block returns.
    Output,
}

/// A prompt as one block sees it.
#[derive(Clone, Debug)]
pub(super) struct BlockCondition {
    /// The norms before self-attention and feed-forward, modulated.
    attention_norm: RmsNorm,
    ffn_norm: RmsNorm,
    gamma1: Tensor, // (C)
    gamma2: Tensor, // (C)
    /// Keys and values of the text.
    text: Kv,
}

impl BlockCondition {
    /// Tokens of the text.
    pub(super) fn text_tokens(&self) -> usize {
        self.text.k.dims()[0]
    }
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    self_attention_norm1: RmsNorm,
    self_attention_norm2: RmsNorm,
    attn: SelfAttention,
    cross_attention_norm1: RmsNorm,
    cross_attention_norm2: RmsNorm,
    attention_y_norm: RmsNorm,
    cross_attn: CrossAttention,
    ffn_norm1: RmsNorm,
    ffn_norm2: RmsNorm,
    ffn: Mlp,
    ada_lin: Linear,
    crop_cond_scales: Option<Tensor>, // (1, C)
}

impl Block {
    pub(super) fn load(w: &Weights, config: &Config) -> Result<Self> {
        let c = config.width;
        let norm = |name: &str| RmsNorm::load(&w.pp(name), c, EPS);
        let context_norm = w.pp("attention_y_norm");
        let ffn = match config.gated {
            true => gated_mlp(&w.pp("ffn"), c, config.hidden)?,
            false => Mlp::load(&w.pp("ffn"), c, Activation::GeluTanh)?,
        };
        let crop_cond_scales = match config.crop {
            true => Some(w.get_reshaped((1, c), "crop_cond_scales")?),
            false => None,
        };
        Ok(Self {
            self_attention_norm1: norm("self_attention_norm1")?,
            self_attention_norm2: norm("self_attention_norm2")?,
            attn: SelfAttention::load(&w.pp("attn"), config)?,
            cross_attention_norm1: norm("cross_attention_norm1")?,
            cross_attention_norm2: norm("cross_attention_norm2")?,
            attention_y_norm: RmsNorm::load(&context_norm, config.context_width, EPS)?,
            cross_attn: CrossAttention::load(&w.pp("cross_attn"), config)?,
            ffn_norm1: norm("ffn_norm1")?,
            ffn_norm2: norm("ffn_norm2")?,
            ffn,
            ada_lin: Linear::load(&w.pp("ada_lin.1"), c, 6 * c)?,
            crop_cond_scales,
        })
    }

    pub(super) fn attention(&self) -> &SelfAttention {
        &self.attn
    }

    /// Prepares a prompt: its vector (1, C), and its features (T, context width). `crop` is the
    /// model's crop condition, (1, C).
    pub(super) fn condition(
        &self,
        vector: &Tensor,
        features: &Tensor,
        crop: Option<&Tensor>,
    ) -> Result<BlockCondition> {
        let vector = match (crop, &self.crop_cond_scales) {
            (Some(crop), Some(scales)) => (vector + (crop * scales)?)?,
            _ => vector.clone(),
        };
        let active = Activation::Silu.forward(&vector)?;
        let all = self.ada_lin.forward(&active)?;
        let all = all.reshape((6, vector.dims()[1]))?;
        let [gamma1, gamma2] = [all.get(0)?, all.get(1)?];
        let [scale1, scale2] = [all.get(2)?, all.get(3)?];
        let [shift1, shift2] = [all.get(4)?, all.get(5)?];
        Ok(BlockCondition {
            attention_norm: self.self_attention_norm1.modulated(&scale1, &shift1)?,
            ffn_norm: self.ffn_norm1.modulated(&scale2, &shift2)?,
            gamma1,
            gamma2,
            text: self
                .cross_attn
                .of_text(&self.attention_y_norm.forward(features)?)?,
        })
    }

    /// x (branches * R, L, C), one branch after the other; `before[r]` are the keys and values of
    /// the earlier scales that row r sees. Returns the rows and their own keys and values.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        conditions: &[&BlockCondition],
        rotation: Option<&Rotation>,
        before: &[Vec<&Kv>],
        watch: &mut dyn FnMut(Part, &Tensor) -> Result<()>,
    ) -> Result<(Tensor, Vec<Kv>)> {
        watch(Part::Input, x)?;
        let h = per_branch(conditions, x, |c, x| c.attention_norm.forward(x))?;
        let (h, own) = self.attn.forward(&h, rotation, before)?;
        watch(Part::SelfAttention, &h)?;
        let h = self.self_attention_norm2.forward(&h)?;
        let gamma1 = of_branches(conditions, |c| &c.gamma1)?;
        let x = residual(x, &h, Some(&gamma1))?;

        let rows = before.len() / conditions.len();
        let texts = conditions
            .iter()
            .flat_map(|c| std::iter::repeat_n(vec![&c.text], rows));
        let h = self.cross_attention_norm1.forward(&x)?;
        let h = self.cross_attn.forward(&h, &texts.collect::<Vec<_>>())?;
        watch(Part::CrossAttention, &h)?;
        let x = residual(&x, &self.cross_attention_norm2.forward(&h)?, None)?;

        let h = per_branch(conditions, &x, |c, x| c.ffn_norm.forward(x))?;
        let h = self.ffn.forward(&h)?;
        watch(Part::FeedForward, &h)?;
        let h = self.ffn_norm2.forward(&h)?;
        let gamma2 = of_branches(conditions, |c| &c.gamma2)?;
        let x = residual(&x, &h, Some(&gamma2))?;
        watch(Part::Output, &x)?;
        Ok((x, own))
    }
}
