//! The vision encoder of SigLIP (arXiv 2303.15343): a vision transformer without a class token
//! whose tokens are pooled by attention.
//!
//! Reference: huggingface/transformers at v4.49.0,
//! `src/transformers/models/siglip/modeling_siglip.py`, lines 250-322 (embeddings), 363-438 and
//! 606-669 (blocks), 1063-1147 (`SiglipVisionTransformer`, pooling head). The fields are named as
//! in its files. The text encoder of those files is not read.

use candle_core::Tensor;
use serde::Deserialize;

use crate::{
    Error, Result, interrupt,
    nn::{
        Activation, CrossAttention, LayerNorm, Mlp, PatchEmbed, Signature, VitBlock, Weights,
        residual,
    },
};

/// Settings that the weights do not reveal, from `config.json`, which omits default values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Settings of the vision encoder.
    pub vision_config: VisionConfig,
}

/// Settings of the vision encoder that its weights do not reveal.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Heads of each block and of the pooling.
    pub num_attention_heads: usize,
    /// Side of the images in pixels. It need not be a multiple of the patch: the
    /// remainder at the right and the bottom is ignored.
    pub image_size: usize,
    /// The activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            num_attention_heads: 12,
            image_size: 224,
            hidden_act: Activation::GeluTanh,
            layer_norm_eps: 1e-6,
        }
    }
}

/// The network. Its other sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct SiglipVision {
    patch_embedding: PatchEmbed,
    position_embedding: Tensor, // (1, grid * grid, C)
    layers: Vec<VitBlock>,
    post_layernorm: LayerNorm,
    head: PoolingHead,
    side: usize,
}

impl SiglipVision {
    /// Tensors of every checkpoint of a whole SigLIP or of its vision tower.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "vision_model.embeddings.patch_embedding.weight",
            "vision_model.post_layernorm.weight",
        ]],
    };

    /// The tensors below `w`, `vision_model` of a whole file.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the others imply.
    pub fn load(w: &Weights, config: &VisionConfig) -> Result<Self> {
        const POSITIONS: &str = "embeddings.position_embedding.weight";
        let patch_embedding = PatchEmbed::load(&w.pp("embeddings.patch_embedding"))?;
        let width = patch_embedding.width();
        let heads = config.num_attention_heads;
        let side = config.image_size;
        let act = config.hidden_act;
        let eps = config.layer_norm_eps;
        let [positions, _] = w.dims(POSITIONS)?;
        let grid = side / patch_embedding.patch();
        if grid * grid != positions || grid == 0 {
            let expected = format!("{} positions for images of {side} x {side}", grid * grid);
            return Err(w.mismatch(POSITIONS, expected, positions.to_string()));
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(w.mismatch(
                POSITIONS,
                format!("a width that {heads} heads share"),
                width.to_string(),
            ));
        }
        let layers = w.pp("encoder.layers");
        let block = |i: usize| VitBlock::load_apart(&layers.pp(i), width, heads, eps, act);
        Ok(Self {
            position_embedding: w.get((positions, width), POSITIONS)?.unsqueeze(0)?,
            layers: (0..w.count("encoder.layers").max(1))
                .map(block)
                .collect::<Result<_>>()?,
            post_layernorm: LayerNorm::load(&w.pp("post_layernorm"), width, eps)?,
            head: PoolingHead::load(&w.pp("head"), width, config)?,
            patch_embedding,
            side,
        })
    }

    /// Side in pixels of the images that it expects.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Numbers per token, and per pooled image.
    pub fn width(&self) -> usize {
        self.patch_embedding.width()
    }

    /// The patches of images (B, 3, side, side) with their positions: (B, grid * grid, C).
    pub fn embed(&self, pixels: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = pixels.dims4()?;
        let side = self.side;
        if (height, width) != (side, side) {
            return Err(Error::input(format!(
                "SigLIP expects images of {side} x {side}, found {width} x {height}"
            )));
        }
        let pixels = pixels.to_dtype(self.position_embedding.dtype())?;
        Ok(self
            .patch_embedding
            .forward(&pixels)?
            .broadcast_add(&self.position_embedding)?) // (B, L, C)
    }

    /// The final state of each patch of images (B, 3, side, side), normalised to -1..1: (B, grid *
    /// grid, C).
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.embed(pixels)?;
        for layer in &self.layers {
            interrupt::check()?;
            x = layer.forward(&x)?;
        }
        Ok(self.post_layernorm.forward(&x)?)
    }

    /// One vector per image, from the output of [`SiglipVision::forward`]: (B, C).
    pub fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.head.forward(hidden)?)
    }

    /// Floating-point operations for one image.
    pub fn flops(&self) -> f64 {
        let patches = self.position_embedding.dims()[1];
        let blocks: f64 = self.layers.iter().map(|layer| layer.flops(patches)).sum();
        let head = self.head.attention.flops(1, patches) + self.head.mlp.flops(1);
        self.patch_embedding.flops(patches) + blocks + head
    }
}

/// Attention of a learned query to all tokens, then feed-forward layers.
#[derive(Clone, Debug)]
struct PoolingHead {
    probe: Tensor, // (1, 1, C)
    attention: CrossAttention,
    layernorm: LayerNorm,
    mlp: Mlp,
}

impl PoolingHead {
    fn load(w: &Weights, width: usize, config: &VisionConfig) -> Result<Self> {
        Ok(Self {
            probe: w.get((1, 1, width), "probe")?,
            attention: CrossAttention::load_joined(
                &w.pp("attention"),
                width,
                config.num_attention_heads,
            )?,
            layernorm: LayerNorm::load(&w.pp("layernorm"), width, config.layer_norm_eps)?,
            mlp: Mlp::load(&w.pp("mlp"), width, config.hidden_act)?,
        })
    }

    /// (B, L, C) -> (B, C)
    fn forward(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        let (b, _, width) = hidden.dims3()?;
        let probe = self.probe.broadcast_as((b, 1, width))?.contiguous()?;
        let x = self.attention.forward(&probe, hidden, hidden, None)?; // (B, 1, C)
        residual(&x, &self.mlp.forward(&self.layernorm.forward(&x)?)?, None)?.squeeze(1)
    }
}
