//! Names of a CLIP's tensors in files of Hugging Face and of OpenCLIP.

use crate::{
    Result,
    nn::{Activation, LayerNorm, Linear, Mlp, SelfAttention, VitBlock, Weights},
};

/// The program that wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `CLIPModel`, a folder.
    HuggingFace,
    /// OpenCLIP and HPSv2, one `.pt`: the text encoder lies at the root, projections are stored
    /// inputs first.
    OpenClip,
}

impl Layout {
    /// Recognised by the name of the image's projection.
    pub fn detect(w: &Weights) -> Self {
        if w.has(Self::OpenClip.visual_projection()) {
            Self::OpenClip
        } else {
            Self::HuggingFace
        }
    }

    /// The tensors of the text encoder.
    pub fn text_model(self, w: &Weights) -> Weights {
        w.pp(self.pick("text_model", ""))
    }

    /// The tensors of the vision encoder.
    pub fn vision_model(self, w: &Weights) -> Weights {
        w.pp(self.pick("vision_model", "visual"))
    }

    pub fn token_embedding(self) -> &'static str {
        self.pick(
            "embeddings.token_embedding.weight",
            "token_embedding.weight",
        )
    }

    pub fn position_embedding(self) -> &'static str {
        self.pick(
            "embeddings.position_embedding.weight",
            "positional_embedding",
        )
    }

    pub fn class_embedding(self) -> &'static str {
        self.pick("embeddings.class_embedding", "class_embedding")
    }

    pub fn patch_embedding(self) -> &'static str {
        self.pick("embeddings.patch_embedding", "conv1")
    }

    /// Before the blocks of the vision encoder.
    pub fn pre_layrnorm(self) -> &'static str {
        self.pick("pre_layrnorm", "ln_pre")
    }

    /// After the blocks of the vision encoder.
    pub fn post_layernorm(self) -> &'static str {
        self.pick("post_layernorm", "ln_post")
    }

    /// After the blocks of the text encoder.
    pub fn final_layer_norm(self) -> &'static str {
        self.pick("final_layer_norm", "ln_final")
    }

    /// The blocks of either network, pre-norm, below its own `w`.
    pub fn blocks(
        self,
        w: &Weights,
        width: usize,
        heads: usize,
        eps: f32,
        act: Activation,
    ) -> Result<Vec<VitBlock>> {
        let name = self.pick("encoder.layers", "transformer.resblocks");
        if heads == 0 || !width.is_multiple_of(heads) {
            let expected = format!("a width that {heads} heads share");
            let first = format!("{name}.0.{}.weight", self.pick("layer_norm1", "ln_1"));
            return Err(w.mismatch(&first, expected, width.to_string()));
        }
        (0..w.count(name).max(1))
            .map(|i| self.block(&w.pp(name).pp(i), width, heads, eps, act))
            .collect()
    }

    fn block(
        self,
        w: &Weights,
        width: usize,
        heads: usize,
        eps: f32,
        act: Activation,
    ) -> Result<VitBlock> {
        if self == Self::HuggingFace {
            return VitBlock::load_apart(w, width, heads, eps, act);
        }
        Ok(VitBlock {
            norm1: LayerNorm::load(&w.pp("ln_1"), width, eps)?,
            attn: SelfAttention::load_joined(&w.pp("attn"), width, heads)?,
            ls1: None,
            norm2: LayerNorm::load(&w.pp("ln_2"), width, eps)?,
            mlp: Mlp::load_named(&w.pp("mlp"), width, act, ["c_fc", "c_proj"])?,
            ls2: None,
        })
    }

    /// The projection of texts of `width` into the shared embedding space.
    pub fn project_text(self, w: &Weights, width: usize) -> Result<Linear> {
        self.project(
            w,
            self.pick("text_projection.weight", "text_projection"),
            width,
        )
    }

    /// The projection of images of `width` into the shared embedding space.
    pub fn project_images(self, w: &Weights, width: usize) -> Result<Linear> {
        self.project(w, self.visual_projection(), width)
    }

    fn visual_projection(self) -> &'static str {
        self.pick("visual_projection.weight", "visual.proj")
    }

    fn project(self, w: &Weights, name: &str, width: usize) -> Result<Linear> {
        let [rows, columns] = w.dims(name)?;
        let weight = match self {
            Self::HuggingFace => w.get((rows, width), name)?,
            Self::OpenClip => w.get((width, columns), name)?.t()?,
        };
        Linear::from_tensors(w, weight, None)
    }

    fn pick(self, hugging_face: &'static str, open_clip: &'static str) -> &'static str {
        match self {
            Self::HuggingFace => hugging_face,
            Self::OpenClip => open_clip,
        }
    }
}
