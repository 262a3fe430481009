//! Names of a DINOv2's tensors in the official files and in those of Hugging Face.

use super::EPS;
use crate::{
    Result,
    nn::{Activation, LayerNorm, Linear, Mlp, SelfAttention, VitBlock, Weights},
};

/// The program that wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `torch.hub` of facebookresearch/dinov2, one `.pth`.
    Official,
    /// `Dinov2Model` and `Dinov2WithRegistersModel`, a folder.
    HuggingFace,
}

impl Layout {
    /// Recognised by the name of the class token.
    pub fn detect(w: &Weights) -> Self {
        if w.has(Self::HuggingFace.cls_token()) {
            Self::HuggingFace
        } else {
            Self::Official
        }
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
            attn: self.attention(w, width, heads)?,
            ls1: scale(self.pick("ls1.gamma", "layer_scale1.lambda1"))?,
            norm2: norm("norm2")?,
            mlp: self.mlp(&w.pp("mlp"), width)?,
            ls2: scale(self.pick("ls2.gamma", "layer_scale2.lambda1"))?,
        })
    }

    /// Hugging Face stores queries, keys and values separately.
    fn attention(self, w: &Weights, width: usize, heads: usize) -> Result<SelfAttention> {
        if self == Self::HuggingFace {
            let parts = ["attention.query", "attention.key", "attention.value"];
            return SelfAttention::load_apart(
                &w.pp("attention"),
                parts,
                "output.dense",
                width,
                heads,
            );
        }
        let qkv = Linear::load(&w.pp("attn.qkv"), width, 3 * width)?;
        Ok(SelfAttention {
            qkv,
            proj: Linear::load(&w.pp("attn.proj"), width, width)?,
            heads,
        })
    }

    /// The largest model has gated layers.
    fn mlp(self, w: &Weights, width: usize) -> Result<Mlp> {
        let gated = [
            self.pick("w12", "weights_in"),
            self.pick("w3", "weights_out"),
        ];
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
