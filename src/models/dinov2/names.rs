//! Where the parts of a DINOv2 lie in the official files and in those of Hugging Face.

use candle_core::Tensor;

use super::EPS;
use crate::{
    Result,
    nn::{Activation, LayerNorm, Linear, Mlp, SelfAttention, VitBlock, Weights},
};

/// Who wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `torch.hub` of facebookresearch/dinov2, one `.pth`.
    Official,
    /// `Dinov2Model` and `Dinov2WithRegistersModel`, a folder.
    HuggingFace,
}

impl Layout {
    /// Told by the name of the class token.
    pub fn of(w: &Weights) -> Self {
        if w.has(Self::HuggingFace.cls_token()) { Self::HuggingFace } else { Self::Official }
    }

    pub fn cls_token(self) -> &'static str {
        self.pick("cls_token", "embeddings.cls_token")
    }

    pub fn pos_embed(self) -> &'static str {
        self.pick("pos_embed", "embeddings.position_embeddings")
    }

    pub fn register_tokens(self) -> &'static str {
        self.pick("register_tokens", "embeddings.register_tokens")
    }

    pub fn patch_embed(self, w: &Weights) -> Weights {
        w.pp(self.pick("patch_embed.proj", "embeddings.patch_embeddings.projection"))
    }

    pub fn blocks(self) -> &'static str {
        self.pick("blocks", "encoder.layer")
    }

    pub fn norm(self) -> &'static str {
        self.pick("norm", "layernorm")
    }

    /// The block whose tensors lie below `w`.
    pub fn block(self, w: &Weights, width: usize, heads: usize) -> Result<VitBlock> {
        let scale = |name: &str| w.has(name).then(|| w.get(width, name)).transpose();
        let norm = |name| LayerNorm::load(&w.pp(name), width, EPS);
        Ok(VitBlock {
            norm1: norm("norm1")?,
            attn: SelfAttention {
                qkv: self.qkv(w, width)?,
                proj: Linear::load(&w.pp(self.pick("attn.proj", "attention.output.dense")), width, width)?,
                heads,
            },
            ls1: scale(self.pick("ls1.gamma", "layer_scale1.lambda1"))?,
            norm2: norm("norm2")?,
            mlp: self.mlp(&w.pp("mlp"), width)?,
            ls2: scale(self.pick("ls2.gamma", "layer_scale2.lambda1"))?,
        })
    }

    /// Hugging Face keeps queries, keys and values apart.
    fn qkv(self, w: &Weights, width: usize) -> Result<Linear> {
        if self == Self::Official {
            return Linear::load(&w.pp("attn.qkv"), width, 3 * width);
        }
        let w = w.pp("attention.attention");
        let parts = ["query", "key", "value"].map(|part| w.pp(part));
        let weights: Vec<_> = parts.iter().map(|p| p.get((width, width), "weight")).collect::<Result<_>>()?;
        let biases: Vec<_> = parts.iter().map(|p| p.get(width, "bias")).collect::<Result<_>>()?;
        Linear::of(&w, Tensor::cat(&weights, 0)?, Some(Tensor::cat(&biases, 0)?))
    }

    /// The largest model has gated layers.
    fn mlp(self, w: &Weights, width: usize) -> Result<Mlp> {
        let gated = [self.pick("w12", "weights_in"), self.pick("w3", "weights_out")];
        if w.has(&format!("{}.weight", gated[0])) {
            Mlp::load_gated(w, width, gated)
        } else {
            Mlp::load(w, width, Activation::Gelu)
        }
    }

    fn pick(self, official: &'static str, hugging_face: &'static str) -> &'static str {
        match self {
            Self::Official => official,
            Self::HuggingFace => hugging_face,
        }
    }
}
