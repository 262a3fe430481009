//! The vision encoder: a vision transformer with a normalisation before its first block.

use candle_core::Tensor;

use super::{Layout, VisionConfig};
use crate::{
    Error, Result, interrupt,
    nn::{LayerNorm, PatchEmbed, VitBlock, Weights, side_of_grid},
};

/// The network.
#[derive(Clone, Debug)]
pub struct VisionModel {
    patch_embedding: PatchEmbed,
    class_embedding: Tensor,    // (1, 1, C)
    position_embedding: Tensor, // (1, 1 + grid * grid, C)
    pre_layrnorm: LayerNorm,    // spelled so in the files
    layers: Vec<VitBlock>,
    post_layernorm: LayerNorm,
    grid: usize,
}

impl VisionModel {
    /// The tensors below `w`.
    pub(super) fn load(w: &Weights, layout: Layout, config: &VisionConfig) -> Result<Self> {
        let patch_embedding = PatchEmbed::load_no_bias(&w.pp(layout.patch_embedding()))?;
        let width = patch_embedding.width();
        let places = layout.position_embedding();
        let [positions, _] = w.dims(places)?;
        let grid = side_of_grid(w, places, positions)?;
        let VisionConfig {
            num_attention_heads: heads,
            hidden_act: act,
            layer_norm_eps: eps,
        } = *config;
        Ok(Self {
            class_embedding: w
                .get(width, layout.class_embedding())?
                .reshape((1, 1, width))?,
            position_embedding: w.get((positions, width), places)?.unsqueeze(0)?,
            pre_layrnorm: LayerNorm::load(&w.pp(layout.pre_layrnorm()), width, eps)?,
            layers: layout.blocks(w, width, heads, eps, act)?,
            post_layernorm: LayerNorm::load(&w.pp(layout.post_layernorm()), width, eps)?,
            patch_embedding,
            grid,
        })
    }

    /// The vision encoder of a `CLIPModel` of Hugging Face without the rest of it: the tensors below
    /// `w`.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the others imply.
    pub fn load_hugging_face(w: &Weights, config: &VisionConfig) -> Result<Self> {
        Self::load(w, Layout::HuggingFace, config)
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Tokens of an image besides the class token.
    pub fn patches(&self) -> usize {
        self.grid * self.grid
    }

    /// Side in pixels of the images that it expects.
    pub fn side(&self) -> usize {
        self.grid * self.patch_embedding.patch()
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.patch_embedding.width()
    }

    /// The final states of the class token and each patch of images (B, 3, side, side): (B, 1 +
    /// grid * grid, C).
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.forward_layers(pixels, self.layers.len())
    }

    /// The states of the same tokens after the first `layers` layers.
    ///
    /// # Errors
    /// The images are of another size.
    pub fn forward_layers(&self, pixels: &Tensor, layers: usize) -> Result<Tensor> {
        let (b, _, height, width) = pixels.dims4()?;
        let side = self.side();
        if (height, width) != (side, side) {
            return Err(Error::input(format!(
                "CLIP expects images of {side} x {side}, found {width} x {height}"
            )));
        }
        let x = self
            .patch_embedding
            .forward(&pixels.to_dtype(self.class_embedding.dtype())?)?; // (B, L, C)
        let class = self.class_embedding.broadcast_as((b, 1, self.width()))?;
        // (B, 1 + L, C)
        let x = Tensor::cat(&[&class, &x], 1)?.broadcast_add(&self.position_embedding)?;
        let mut x = self.pre_layrnorm.forward(&x)?;
        for layer in self.layers.iter().take(layers) {
            interrupt::check()?;
            x = layer.forward(&x)?;
        }
        Ok(x)
    }

    /// One vector per image, from the output of [`VisionModel::forward`]: (B, C).
    pub fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self
            .post_layernorm
            .forward(&hidden.narrow(1, 0, 1)?.contiguous()?)?
            .squeeze(1)?)
    }

    /// Floating-point operations for one image.
    pub fn flops(&self) -> f64 {
        let patches = self.grid * self.grid;
        let blocks: f64 = self
            .layers
            .iter()
            .map(|layer| layer.flops(1 + patches))
            .sum();
        self.patch_embedding.flops(patches) + blocks
    }
}
