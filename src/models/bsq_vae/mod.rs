//! The multi-scale bitwise tokenizer of Infinity (arXiv 2412.04431, section 3.1): an encoder and a
//! decoder between images and latents, and the quantizer between latents and bits.
//!
//! Encoder and decoder are those of [`autoencoder`](super::autoencoder), without attention.
//!
//! Reference: FoundationVision/Infinity at commit 4c27bbb, `infinity/models/bsq_vae`:
//! `multiscale_bsq.py`, lines 170-393 (`MultiScaleBSQ`) and 394-718 (`BSQ`).

mod quantizer;

use candle_core::Tensor;

pub use quantizer::{Latent, QuantizedScale, quantize};

use super::autoencoder::{Attention, Decoder, Encoder};
use crate::{
    Result,
    nn::{Signature, Weights},
};

/// Encoder and decoder of one checkpoint.
#[derive(Clone, Debug)]
pub struct BsqVae {
    /// Images to latents.
    pub encoder: Encoder,
    /// Latents to images.
    pub decoder: Decoder,
}

/// Tensors of every checkpoint, with and without the wrappers of released ones.
pub const SIGNATURE: Signature = Signature {
    layouts: &[
        &[
            "decoder.conv_in.conv.weight",
            "decoder.conv_out.conv.weight",
        ],
        &["decoder.conv_in.weight", "decoder.conv_out.weight"],
    ],
};

impl BsqVae {
    /// Reads `encoder.*` and `decoder.*`; every size is the file's.
    pub fn load(w: &Weights) -> Result<Self> {
        let encoder = Self::load_encoder(w)?;
        let decoder = Self::load_decoder(w)?;
        if encoder.latent_channels() != decoder.latent_channels() {
            let expected = decoder.latent_channels();
            let found = encoder.latent_channels();
            return Err(w.mismatch(
                "encoder.conv_out",
                format!("{expected} channels, as the decoder has"),
                found.to_string(),
            ));
        }
        Ok(Self { encoder, decoder })
    }

    /// What is left of images after all scales of bits: (1, 3, H, W) with values in [-1, 1], to the
    /// same. `grids` are (rows, columns) in latent cells.
    pub fn reconstruct(&self, x: &Tensor, grids: &[(usize, usize)]) -> Result<Tensor> {
        let latent = self.encoder.forward(x)?;
        let scales = quantize(&latent, grids)?;
        let sum = scales.last().map_or(&latent, |last| &last.sum);
        self.decoder.forward(sum)
    }

    /// Reads `encoder.*` alone.
    pub fn load_encoder(w: &Weights) -> Result<Encoder> {
        Encoder::load(&w.pp("encoder"), Attention::None)
    }

    /// Reads `decoder.*` alone.
    pub fn load_decoder(w: &Weights) -> Result<Decoder> {
        Decoder::load(&w.pp("decoder"), Attention::None)
    }
}
