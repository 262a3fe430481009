//! The last blocks of BLIP's vision encoder, trained to read latents instead of pixels: the network
//! of a latent verifier. It is a network of this project; `training/latent_verifier.py` trains it.

use candle_core::{DType, Tensor};

use crate::{
    Error, Result, interrupt,
    nn::{
        Activation, LayerNorm, Linear, VitBlock, Weights, area, check_finite, heads_for,
        side_of_grid,
    },
};

/// All LayerNorms, as in [`VisualEncoder`](super::VisualEncoder).
const EPS: f32 = 1e-6;

/// The network. Its sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct LatentEncoder {
    latent_embed: Linear,
    scale_embed: Tensor, // (scales, C)
    cls_token: Tensor,   // (1, 1, C)
    pos_embed: Tensor,   // (1, 1 + grid * grid, C)
    blocks: Vec<VitBlock>,
    norm: LayerNorm,
    grid: usize,
}

impl LatentEncoder {
    /// The tensors below `w`. `heads` may be `None` for the released widths, as in
    /// [`VisualEncoder`](super::VisualEncoder).
    ///
    /// # Errors
    /// A tensor is missing, of another shape, or not finite.
    pub fn load(w: &Weights, heads: Option<usize>) -> Result<Self> {
        let [width, channels] = w.dims("latent_embed.weight")?;
        let [scales, _] = w.dims("scale_embed.weight")?;
        let [_, positions, _] = w.dims("pos_embed")?;
        let heads = heads_for(w, "latent_embed.weight", width, heads)?;
        let block = |i| VitBlock::load(&w.pp("blocks").pp(i), width, heads, EPS, Activation::Gelu);
        Ok(Self {
            latent_embed: Linear::load(&w.pp("latent_embed"), channels, width)?,
            scale_embed: w.get((scales, width), "scale_embed.weight")?,
            cls_token: w.get((1, 1, width), "cls_token")?,
            grid: side_of_grid(w, "pos_embed", positions)?,
            pos_embed: w.get((1, positions, width), "pos_embed")?,
            blocks: (0..w.count("blocks").max(1))
                .map(block)
                .collect::<Result<_>>()?,
            norm: LayerNorm::load(&w.pp("norm"), width, EPS)?,
        })
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.latent_embed.outputs()
    }

    /// Numbers per cell of the latents that it expects.
    pub fn channels(&self) -> usize {
        self.latent_embed.inputs()
    }

    /// Tokens of a latent: one for the whole, one per cell of its own grid.
    pub fn tokens(&self) -> usize {
        1 + self.grid * self.grid
    }

    /// Number of scales that it can tell apart.
    pub fn scales(&self) -> usize {
        self.scale_embed.dims()[0]
    }

    /// Latents (B, channels, height, width) after `scale` -> (B, tokens, C), like the tokens of the
    /// finished images. Latents with another grid are averaged or repeated to its own.
    ///
    /// # Errors
    /// The latents have another number of channels, there is no such scale, or a result is not
    /// finite.
    pub fn forward(&self, latents: &Tensor, scale: usize) -> Result<Tensor> {
        let (b, channels, ..) = latents.dims4()?;
        if channels != self.channels() {
            return Err(Error::input(format!(
                "the latent verifier expects latents of {} channels, found {channels}",
                self.channels()
            ))
            .with_hint("the verifier must be trained for this generator"));
        }
        if scale >= self.scales() {
            return Err(Error::input(format!(
                "the latent verifier was trained for {} scales, so it cannot predict after scale {scale}",
                self.scales()
            ))
            .with_hint("choose a stage at one of its scales, or verifier = \"image\""));
        }
        let width = self.width();
        let cells = area(&latents.to_dtype(DType::F32)?, (self.grid, self.grid))?;
        let cells = cells.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // (B, L, channels)
        let of_scale = self.scale_embed.narrow(0, scale, 1)?.unsqueeze(0)?; // (1, 1, C)
        let x = self
            .latent_embed
            .forward(&cells.to_dtype(self.cls_token.dtype())?)?
            .broadcast_add(&of_scale)?; // (B, L, C)
        let cls = self.cls_token.broadcast_as((b, 1, width))?;
        let mut x = Tensor::cat(&[&cls, &x], 1)?.broadcast_add(&self.pos_embed)?; // (B, 1 + L, C)
        for block in &self.blocks {
            interrupt::check()?;
            x = block.forward(&x)?;
        }
        let x = self.norm.forward(&x)?;
        check_finite("the tokens of the latent verifier", &x)?;
        Ok(x)
    }

    /// Floating-point operations for one latent.
    pub fn flops(&self) -> f64 {
        let blocks = self.blocks.iter();
        let blocks: f64 = blocks.map(|block| block.flops(self.tokens())).sum();
        self.latent_embed.flops(self.tokens() - 1) + blocks
    }
}
