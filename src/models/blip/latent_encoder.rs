//! The last blocks of BLIP's vision encoder, trained to read latents and hidden states of the
//! generator instead of pixels: the network of a latent verifier. It is a network of this project;
//! `training/latent_verifier.py` trains it.

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
    hidden: Option<HiddenEmbed>,
    scale_embed: Tensor, // (scales, C)
    cls_token: Tensor,   // (1, 1, C)
    pos_embed: Tensor,   // (1, 1 + grid * grid, C)
    blocks: Vec<VitBlock>,
    norm: LayerNorm,
    grid: usize,
}

/// Reads the hidden states of the generator.
#[derive(Clone, Debug)]
struct HiddenEmbed {
    hidden_norm: LayerNorm,
    hidden_embed: Linear,
}

impl HiddenEmbed {
    /// The tensors below `w`; `None` if the verifier reads latents alone.
    fn load(w: &Weights, width: usize) -> Result<Option<Self>> {
        if !w.has("hidden_embed.weight") {
            return Ok(None);
        }
        let [_, channels] = w.dims("hidden_embed.weight")?;
        Ok(Some(Self {
            hidden_norm: LayerNorm::load(&w.pp("hidden_norm"), channels, EPS)?,
            hidden_embed: Linear::load_with_bias(&w.pp("hidden_embed"), channels, width, None)?,
        }))
    }

    /// (B, channels, height, width) -> (B, grid * grid, C)
    fn forward(&self, hidden: &Tensor, grid: usize) -> Result<Tensor> {
        let dtype = hidden.dtype();
        let normed = self
            .hidden_norm
            .forward(&hidden.permute((0, 2, 3, 1))?.contiguous()?)?;
        let normed = normed.permute((0, 3, 1, 2))?.contiguous()?; // (B, channels, height, width)
        Ok(self
            .hidden_embed
            .forward(&cells(&normed, grid)?.to_dtype(dtype)?)?)
    }
}

/// (B, channels, height, width) -> (B, grid * grid, channels), averaged or repeated.
fn cells(map: &Tensor, grid: usize) -> Result<Tensor> {
    let map = area(&map.to_dtype(DType::F32)?, (grid, grid))?;
    Ok(map.flatten_from(2)?.transpose(1, 2)?.contiguous()?)
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
            hidden: HiddenEmbed::load(w, width)?,
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

    /// Numbers per cell of the hidden states that it expects; `None` if it reads latents alone.
    pub fn hidden_channels(&self) -> Option<usize> {
        let hidden = self.hidden.as_ref()?;
        Some(hidden.hidden_embed.inputs())
    }

    /// Tokens of a latent: one for the whole, one per cell of its own grid.
    pub fn tokens(&self) -> usize {
        1 + self.grid * self.grid
    }

    /// Number of scales that it can tell apart.
    pub fn scales(&self) -> usize {
        self.scale_embed.dims()[0]
    }

    /// Latents (B, channels, height, width) and hidden states (B, hidden channels, height, width)
    /// after `scale` -> (B, tokens, C), like the tokens of the finished images. Maps with another
    /// grid are averaged or repeated to its own.
    ///
    /// # Errors
    /// The latents or hidden states have another number of channels, hidden states are missing,
    /// there is no such scale, or a result is not finite.
    pub fn forward(
        &self,
        latents: &Tensor,
        hidden: Option<&Tensor>,
        scale: usize,
    ) -> Result<Tensor> {
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
        let dtype = self.cls_token.dtype();
        let cells = cells(latents, self.grid)?.to_dtype(dtype)?; // (B, L, channels)
        let of_scale = self.scale_embed.narrow(0, scale, 1)?.unsqueeze(0)?; // (1, 1, C)
        let mut x = self
            .latent_embed
            .forward(&cells)?
            .broadcast_add(&of_scale)?; // (B, L, C)
        if let Some(embed) = &self.hidden {
            let hidden = self.checked_hidden(hidden)?.to_dtype(dtype)?;
            x = (x + embed.forward(&hidden, self.grid)?)?;
        }
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

    /// Hidden states with as many channels as the network expects.
    fn checked_hidden<'t>(&self, hidden: Option<&'t Tensor>) -> Result<&'t Tensor> {
        let expected = self.hidden_channels().unwrap_or(0);
        let found = hidden.map(|hidden| hidden.dims()[1]);
        match hidden {
            Some(hidden) if found == Some(expected) => Ok(hidden),
            _ => Err(Error::input(format!(
                "the latent verifier expects hidden states of {expected} channels, found {}",
                found.map_or("none".to_owned(), |found| found.to_string())
            ))
            .with_hint(
                "`hidden_block` in [verifier] of bundle.toml names the block whose output it reads",
            )),
        }
    }

    /// Floating-point operations for one latent.
    pub fn flops(&self) -> f64 {
        let cells = self.tokens() - 1;
        let hidden = self.hidden.as_ref();
        let hidden = hidden.map_or(0.0, |hidden| hidden.hidden_embed.flops(cells));
        let blocks = self.blocks.iter();
        let blocks: f64 = blocks.map(|block| block.flops(self.tokens())).sum();
        self.latent_embed.flops(cells) + hidden + blocks
    }
}
