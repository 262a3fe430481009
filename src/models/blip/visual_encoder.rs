//! BLIP's vision encoder: a plain vision transformer for square images of one size.

use candle_core::Tensor;

use crate::{
    Error, Result, interrupt,
    nn::{Activation, LayerNorm, PatchEmbed, VitBlock, Weights, heads_for, side_of_grid},
};

/// All LayerNorms; PyTorch's default would be 1e-5.
const EPS: f32 = 1e-6;

/// The network. Its sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct VisualEncoder {
    patch_embed: PatchEmbed,
    cls_token: Tensor, // (1, 1, C)
    pos_embed: Tensor, // (1, 1 + grid * grid, C)
    blocks: Vec<VitBlock>,
    norm: LayerNorm,
    grid: usize,
}

impl VisualEncoder {
    /// The tensors below `w`. `heads` may be `None` for the released widths: 768 and 1024 have 64
    /// numbers per head.
    pub fn load(w: &Weights, heads: Option<usize>) -> Result<Self> {
        let patch_embed = PatchEmbed::load(&w.pp("patch_embed.proj"))?;
        let width = patch_embed.width();
        let heads = heads_for(w, "cls_token", width, heads)?;
        let [_, positions, _] = w.dims("pos_embed")?;
        let grid = side_of_grid(w, "pos_embed", positions)?;
        let block = |i| VitBlock::load(&w.pp("blocks").pp(i), width, heads, EPS, Activation::Gelu);
        Ok(Self {
            cls_token: w.get((1, 1, width), "cls_token")?,
            pos_embed: w.get((1, positions, width), "pos_embed")?,
            blocks: (0..w.count("blocks").max(1))
                .map(block)
                .collect::<Result<_>>()?,
            norm: LayerNorm::load(&w.pp("norm"), width, EPS)?,
            patch_embed,
            grid,
        })
    }

    /// Side in pixels of the images that it expects.
    pub fn side(&self) -> usize {
        self.grid * self.patch_embed.patch()
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.patch_embed.width()
    }

    /// Tokens of an image: one for the whole, one per patch.
    pub fn tokens(&self) -> usize {
        1 + self.grid * self.grid
    }

    /// Images (B, 3, side, side), normalised with the mean and standard deviation of CLIP, -> (B,
    /// tokens, C).
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (b, _, height, width) = pixels.dims4()?;
        if (height, width) != (self.side(), self.side()) {
            let side = self.side();
            return Err(Error::input(format!(
                "BLIP expects images of {side} x {side}, found {width} x {height}"
            )));
        }
        let x = self
            .patch_embed
            .forward(&pixels.to_dtype(self.cls_token.dtype())?)?; // (B, L, C)
        let cls = self.cls_token.broadcast_as((b, 1, self.width()))?;
        let mut x = Tensor::cat(&[&cls, &x], 1)?.broadcast_add(&self.pos_embed)?; // (B, 1 + L, C)
        for block in &self.blocks {
            interrupt::check()?;
            x = block.forward(&x)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    /// Floating-point operations for one image.
    pub fn flops(&self) -> f64 {
        let blocks: f64 = self
            .blocks
            .iter()
            .map(|block| block.flops(self.tokens()))
            .sum();
        self.patch_embed.flops(self.tokens() - 1) + blocks
    }
}
