//! A block: causal self-attention, attention to the text if there is one, a gated feed-forward.

use candle_core::{DType, Result, Tensor};

use super::{FlexArConfig, Sizes};
use crate::{
    models::{
        branches::{row_kv, with_own},
        flextok::Watch,
    },
    nn::{Kv, Linear, Mlp, RmsNorm, Weights, attention_blocks, residual},
};

/// The network of a block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    norm_1: RmsNorm,
    attn: SelfAttention,
    cross: Option<(RmsNorm, CrossAttention)>,
    mlp_norm: RmsNorm,
    mlp: Mlp,
}

impl Block {
    pub fn load(w: &Weights, config: &FlexArConfig, sizes: &Sizes) -> crate::Result<Self> {
        let norm = |name: &str| RmsNorm::load(&w.pp(name), sizes.width, config.eps);
        let (attn, cross, mlp_norm) = match config.cross_heads {
            Some(heads) => {
                let cross = CrossAttention::load(&w.pp("cross_attn"), sizes.width, heads)?;
                ("self_attn", Some((norm("norm_2")?, cross)), "norm_3")
            }
            None => ("attn", None, "norm_2"),
        };
        Ok(Self {
            norm_1: norm("norm_1")?,
            attn: SelfAttention::load(&w.pp(attn), config, sizes.width)?,
            cross,
            mlp_norm: norm(mlp_norm)?,
            mlp: Mlp::load_gated_apart(&w.pp("mlp"), sizes.width, ["fc1", "fc3", "fc2"])?,
        })
    }

    /// The keys and values of a text (T, C); `None` without attention to it.
    pub fn text_kv(&self, text: &Tensor) -> Result<Option<Kv>> {
        let cross = self.cross.as_ref();
        cross.map(|(_, cross)| cross.text_kv(text)).transpose()
    }

    /// x (rows, 1, C) -> (rows, 1, C) and the keys and values of each row. `before` is what each row
    /// saw, `texts` the text of each row.
    pub fn forward(
        &self,
        x: &Tensor,
        before: &[Vec<&Kv>],
        texts: &[Vec<&Kv>],
        number: usize,
        watch: &mut Watch,
    ) -> Result<(Tensor, Vec<Kv>)> {
        let h = self.norm_1.forward(x)?;
        let (h, own) = self.attn.forward(&h, before, number, watch)?;
        watch("self_attn", Some(number), &h);
        let mut x = residual(x, &h, None)?;
        if let Some((norm_2, cross)) = &self.cross {
            let h = cross.forward(&norm_2.forward(&x)?, texts)?;
            watch("cross_attn", Some(number), &h);
            x = residual(&x, &h, None)?;
        }
        let h = self.mlp.forward(&self.mlp_norm.forward(&x)?)?;
        watch("mlp", Some(number), &h);
        let x = residual(&x, &h, None)?;
        watch("out", Some(number), &x);
        Ok((x, own))
    }
}

/// Attention to the tokens so far.
#[derive(Clone, Debug)]
struct SelfAttention {
    qkv: Linear,
    proj: Linear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    heads: usize,
    kept_as: DType, // of keys and values
}

impl SelfAttention {
    fn load(w: &Weights, config: &FlexArConfig, width: usize) -> crate::Result<Self> {
        let heads = config.self_attention.heads;
        check_heads(w, "qkv.weight", width, heads)?;
        let qk_norm = config.self_attention.qk_norm;
        let norm = |name: &str| {
            let load = |eps| RmsNorm::load(&w.pp(name), width / heads, eps);
            qk_norm.map(load).transpose()
        };
        Ok(Self {
            qkv: Linear::load_no_bias(&w.pp("qkv"), width, 3 * width)?,
            proj: Linear::load_no_bias(&w.pp("proj"), width, width)?,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
            heads,
            kept_as: w.dtype().of_activations(),
        })
    }

    /// x (rows, 1, C)
    fn forward(
        &self,
        x: &Tensor,
        before: &[Vec<&Kv>],
        number: usize,
        watch: &mut Watch,
    ) -> Result<(Tensor, Vec<Kv>)> {
        let width = self.proj.inputs();
        let qkv = self.qkv.forward(x)?; // (rows, 1, 3 C)
        watch("qkv", Some(number), &qkv);
        let part = |i: usize| qkv.narrow(2, i * width, width)?.contiguous();
        let q = self.normalised(&part(0)?, self.q_norm.as_ref())?;
        let k = self.normalised(&part(1)?, self.k_norm.as_ref())?;
        watch("q", Some(number), &q);
        watch("k", Some(number), &k);
        let own = row_kv(&k, &part(2)?, self.kept_as)?;
        let seen = with_own(before, &own);
        let scale = ((width / self.heads) as f32).sqrt().recip();
        let out = attention_blocks(&q, &seen, self.heads, scale, None)?;
        Ok((self.proj.forward(&out)?, own))
    }

    /// Each head by itself: (rows, 1, C) -> (rows, 1, C)
    fn normalised(&self, x: &Tensor, norm: Option<&RmsNorm>) -> Result<Tensor> {
        let Some(norm) = norm else {
            return Ok(x.clone());
        };
        let (rows, tokens, width) = x.dims3()?;
        let heads = x.reshape((rows, tokens * self.heads, width / self.heads))?;
        norm.forward(&heads)?.reshape((rows, tokens, width))
    }
}

/// Attention to the text.
#[derive(Clone, Debug)]
struct CrossAttention {
    wq: Linear,
    wk: Linear,
    wv: Linear,
    proj: Linear,
    heads: usize,
    kept_as: DType, // of keys and values
}

impl CrossAttention {
    fn load(w: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        check_heads(w, "Wq.weight", width, heads)?;
        let linear = |name: &str| Linear::load_no_bias(&w.pp(name), width, width);
        Ok(Self {
            wq: linear("Wq")?,
            wk: linear("Wk")?,
            wv: linear("Wv")?,
            proj: linear("proj")?,
            heads,
            kept_as: w.dtype().of_activations(),
        })
    }

    fn text_kv(&self, text: &Tensor) -> Result<Kv> {
        let kv = Kv {
            k: self.wk.forward(text)?,
            v: self.wv.forward(text)?,
        };
        kv.to_dtype(self.kept_as)
    }

    /// x (rows, 1, C)
    fn forward(&self, x: &Tensor, texts: &[Vec<&Kv>]) -> Result<Tensor> {
        let q = self.wq.forward(x)?;
        let scale = ((self.wq.outputs() / self.heads) as f32).sqrt().recip();
        self.proj
            .forward(&attention_blocks(&q, texts, self.heads, scale, None)?)
    }
}

fn check_heads(w: &Weights, name: &str, width: usize, heads: usize) -> crate::Result<()> {
    if heads > 0 && width.is_multiple_of(heads) {
        return Ok(());
    }
    let expected = format!("a width that {heads} heads divide");
    Err(w.mismatch(name, expected, width.to_string()))
}
