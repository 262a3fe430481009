//! The block that vision transformers are made of: pre-norm attention and feed-forward, each with a
//! residual.

use candle_core::{Result, Tensor};

use crate::nn::{Activation, LayerNorm, Linear, Mlp, Weights, attention, residual};

/// Multi-head attention of tokens among themselves, with queries, keys and values from one layer.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// width -> 3 width: queries, keys, values, each with its heads side by side
    pub qkv: Linear,
    /// width -> width
    pub proj: Linear,
    /// Number of heads; divides the width.
    pub heads: usize,
}

impl SelfAttention {
    /// A layer whose queries, keys and values lie apart, as Hugging Face keeps them: `parts` and
    /// `proj` are names below `w`.
    pub fn load_apart(
        w: &Weights,
        parts: [&str; 3],
        proj: &str,
        width: usize,
        heads: usize,
    ) -> crate::Result<Self> {
        let parts = parts.map(|part| w.pp(part));
        let weights: Vec<_> = parts
            .iter()
            .map(|p| p.get((width, width), "weight"))
            .collect::<crate::Result<_>>()?;
        let biases: Vec<_> = parts
            .iter()
            .map(|p| p.get(width, "bias"))
            .collect::<crate::Result<_>>()?;
        let qkv = Linear::from_tensors(w, w.join(&weights)?, Some(w.join(&biases)?))?;
        Ok(Self {
            qkv,
            proj: Linear::load(&w.pp(proj), width, width)?,
            heads,
        })
    }

    /// A layer of PyTorch's own: `in_proj_weight`, `in_proj_bias` and `out_proj` below `w`.
    pub fn load_joined(w: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        let weight = w.get((3 * width, width), "in_proj_weight")?;
        let bias = w.get(3 * width, "in_proj_bias")?;
        let qkv = Linear::from_tensors(w, weight, Some(bias))?;
        Ok(Self {
            qkv,
            proj: Linear::load(&w.pp("out_proj"), width, width)?,
            heads,
        })
    }

    /// (B, L, C) -> (B, L, C); `bias` is added to the scores, see [`attention`].
    pub fn forward(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let width = self.proj.inputs();
        let qkv = self.qkv.forward(x)?; // (B, L, 3 C)
        let part = |i: usize| qkv.narrow(2, i * width, width)?.contiguous(); // (B, L, C)
        let scale = ((width / self.heads) as f32).sqrt().recip();
        self.proj.forward(&attention(
            &part(0)?,
            &part(1)?,
            &part(2)?,
            self.heads,
            scale,
            bias,
        )?)
    }

    /// Floating-point operations for one image of this many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        let pairs = 4.0 * (tokens * tokens * self.proj.inputs()) as f64;
        self.qkv.flops(tokens) + self.proj.flops(tokens) + pairs
    }
}

/// `x += ls1 * attn(norm1(x)); x += ls2 * mlp(norm2(x))`
#[derive(Clone, Debug)]
pub struct VitBlock {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Tokens look at each other.
    pub attn: SelfAttention,
    /// LayerScale of the attention, (C), where the model has it.
    pub ls1: Option<Tensor>,
    /// Before the feed-forward layers.
    pub norm2: LayerNorm,
    /// Each token by itself.
    pub mlp: Mlp,
    /// LayerScale of the feed-forward layers, (C), where the model has it.
    pub ls2: Option<Tensor>,
}

impl VitBlock {
    /// A block under timm's names: `norm1`, `attn.qkv`, `attn.proj`, `norm2`, `mlp.fc1`, `mlp.fc2`,
    /// without LayerScale.
    pub fn load(
        w: &Weights,
        width: usize,
        heads: usize,
        eps: f32,
        act: Activation,
    ) -> crate::Result<Self> {
        let qkv = Linear::load(&w.pp("attn.qkv"), width, 3 * width)?;
        Ok(Self {
            norm1: LayerNorm::load(&w.pp("norm1"), width, eps)?,
            attn: SelfAttention {
                qkv,
                proj: Linear::load(&w.pp("attn.proj"), width, width)?,
                heads,
            },
            ls1: None,
            norm2: LayerNorm::load(&w.pp("norm2"), width, eps)?,
            mlp: Mlp::load(&w.pp("mlp"), width, act)?,
            ls2: None,
        })
    }

    /// A block under the names that Hugging Face has for CLIP and SigLIP: `layer_norm1`,
    /// `self_attn.q_proj` and so on, `layer_norm2`, `mlp.fc1`, `mlp.fc2`.
    pub fn load_apart(
        w: &Weights,
        width: usize,
        heads: usize,
        eps: f32,
        act: Activation,
    ) -> crate::Result<Self> {
        let parts = ["q_proj", "k_proj", "v_proj"];
        Ok(Self {
            norm1: LayerNorm::load(&w.pp("layer_norm1"), width, eps)?,
            attn: SelfAttention::load_apart(&w.pp("self_attn"), parts, "out_proj", width, heads)?,
            ls1: None,
            norm2: LayerNorm::load(&w.pp("layer_norm2"), width, eps)?,
            mlp: Mlp::load(&w.pp("mlp"), width, act)?,
            ls2: None,
        })
    }

    /// (B, L, C) -> (B, L, C)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_biased(x, None)
    }

    /// [`VitBlock::forward`] with something added to the scores of the attention.
    pub fn forward_biased(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let x = residual(
            x,
            &self.attn.forward(&self.norm1.forward(x)?, bias)?,
            self.ls1.as_ref(),
        )?;
        residual(
            &x,
            &self.mlp.forward(&self.norm2.forward(&x)?)?,
            self.ls2.as_ref(),
        )
    }

    /// Floating-point operations for one image of this many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        self.attn.flops(tokens) + self.mlp.flops(tokens)
    }
}

/// The side of the grid that a table of `positions` stands for, the class token first; `tensor`
/// names the table.
pub(crate) fn side_of_grid(w: &Weights, tensor: &str, positions: usize) -> crate::Result<usize> {
    let side = positions.saturating_sub(1).isqrt();
    if side == 0 || 1 + side * side != positions {
        let found = format!("{positions} positions");
        return Err(w.mismatch(
            tensor,
            "a class token and a square grid of positions",
            found,
        ));
    }
    Ok(side)
}

/// The number of heads of a released model of this width, for files that do not tell: 64 numbers a
/// head.
pub(crate) fn usual_heads(width: usize) -> Option<usize> {
    [384, 768, 1024, 1536]
        .contains(&width)
        .then_some(width / 64)
}

/// The number of heads to use: as given, else as usual for this width; an error names the tensor
/// that showed the width.
pub(crate) fn heads_for(
    w: &Weights,
    tensor: &str,
    width: usize,
    given: Option<usize>,
) -> crate::Result<usize> {
    match given.or_else(|| usual_heads(width)) {
        Some(heads) if heads > 0 && width.is_multiple_of(heads) => Ok(heads),
        Some(heads) => Err(w.mismatch(
            tensor,
            format!("a width that {heads} heads share"),
            format!("{width}"),
        )),
        None => {
            let known =
                "a width of 384, 768, 1024 or 1536, or the number of heads in the configuration";
            Err(w.mismatch(tensor, known, format!("{width}")))
        }
    }
}
