//! The multi-scale tokenizer of VAR (arXiv 2404.02905, section 3.2): an encoder and a decoder
//! between images and latents, and the quantizer between latents and ids of a codebook.
//!
//! Encoder and decoder are those of [`autoencoder`], with attention at the
//! coarsest resolution and one more convolution towards the latent.
//!
//! Reference: FoundationVision/VAR, `models/vqvae.py` (`VQVAE`), `models/basic_vae.py` (encoder,
//! decoder) and `models/quant.py` (`VectorQuantizer2`, `Phi`).

mod quantizer;

use candle_core::Tensor;

pub use quantizer::{QuantizedScale, Quantizer, phi_of_scale};

use super::autoencoder::{self, Attention, DecoderSizes, conv};
use crate::{
    Result,
    nn::{Conv2d, FeatureMap, Signature, Weights},
};

/// Tensors of every checkpoint.
pub const SIGNATURE: Signature = Signature {
    layouts: &[&[
        "decoder.conv_in.weight",
        "decoder.conv_out.weight",
        "post_quant_conv.weight",
        "quantize.embedding.weight",
    ]],
};

/// The decoder of every published tokenizer.
pub const PUBLISHED_DECODER: DecoderSizes = DecoderSizes {
    latent_channels: 32,
    base: 160,
    multipliers: &[1, 1, 2, 2, 4],
    blocks: 3,
    attention: Attention::Coarsest,
};

/// Codes of every published tokenizer.
pub const PUBLISHED_VOCABULARY: usize = 4096;

/// Tensors that generation leaves alone.
pub const UNUSED: [&str; 3] = ["encoder.", "quant_conv.", "quantize.ema_vocab_hit_SV"];

/// Reads what generation needs.
///
/// # Errors
/// A tensor is missing or of another shape than the rest implies.
pub fn load_for_images(w: &Weights) -> Result<(Quantizer, Decoder)> {
    let quantizer = Quantizer::load(&w.pp("quantize"))?;
    Ok((quantizer, Decoder::load(w)?))
}

/// Name and shape of every tensor that [`load_for_images`] reads, for a decoder of these sizes and
/// `vocabulary` codes.
pub fn tensors(decoder: &DecoderSizes, vocabulary: usize) -> Vec<(String, Vec<usize>)> {
    let width = decoder.latent_channels;
    let tensors = decoder.tensors().into_iter();
    let mut all: Vec<_> = tensors
        .map(|(name, shape)| (format!("decoder.{name}"), shape))
        .collect();
    let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
    let conv = [width, width, 3, 3];
    add("post_quant_conv.weight".to_owned(), &conv);
    add("post_quant_conv.bias".to_owned(), &conv[..1]);
    add("quantize.embedding.weight".to_owned(), &[vocabulary, width]);
    for phi in 0..quantizer::PHIS {
        let phi = format!("quantize.quant_resi.qresi_ls.{phi}");
        add(format!("{phi}.weight"), &conv);
        add(format!("{phi}.bias"), &conv[..1]);
    }
    all
}

/// Floating-point operations of decoding one latent of this many cells with a decoder of these sizes.
pub fn decode_flops(decoder: &DecoderSizes, cells: usize) -> f64 {
    let width = decoder.latent_channels;
    let post_quant_conv = 2.0 * (cells * 9 * width * width) as f64;
    post_quant_conv + decoder.flops(cells)
}

/// Latents to images.
#[derive(Clone, Debug)]
pub struct Decoder {
    post_quant_conv: Conv2d,
    decoder: autoencoder::Decoder,
}

impl Decoder {
    /// Reads `post_quant_conv` and `decoder` below `w`; every size is the file's.
    pub fn load(w: &Weights) -> Result<Self> {
        let decoder = autoencoder::Decoder::load(&w.pp("decoder"), Attention::Coarsest)?;
        let post_quant_conv = conv(w, "post_quant_conv")?;
        check_channels(
            w,
            "post_quant_conv",
            &post_quant_conv,
            decoder.latent_channels(),
        )?;
        Ok(Self {
            post_quant_conv,
            decoder,
        })
    }

    /// Values per latent cell.
    pub fn latent_channels(&self) -> usize {
        self.decoder.latent_channels()
    }

    /// Pixels of the image along one side of a latent cell.
    pub fn patch(&self) -> usize {
        self.decoder.patch()
    }

    /// Latents (B, d, h, w) -> images (B, 3, h * patch, w * patch), roughly in [-1, 1], not
    /// clamped
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let z = self.post_quant_conv.forward(&FeatureMap::new(z)?)?;
        self.decoder.forward(&z.to_tensor()?)
    }

    /// Floating-point operations of one latent of this many cells.
    pub fn flops(&self, cells: usize) -> f64 {
        self.post_quant_conv.flops(cells) + self.decoder.flops(cells)
    }

    /// Bytes of the feature maps at the widest moment of one latent of (rows, columns) cells.
    pub fn activation_bytes(&self, cells: (usize, usize)) -> u64 {
        self.decoder.activation_bytes(cells)
    }
}

/// Images to latents.
#[derive(Clone, Debug)]
pub struct Encoder {
    encoder: autoencoder::Encoder,
    quant_conv: Conv2d,
}

impl Encoder {
    /// Reads `encoder` and `quant_conv` below `w`; every size is the file's.
    pub fn load(w: &Weights) -> Result<Self> {
        let encoder = autoencoder::Encoder::load(&w.pp("encoder"), Attention::Coarsest)?;
        let quant_conv = conv(w, "quant_conv")?;
        check_channels(w, "quant_conv", &quant_conv, encoder.latent_channels())?;
        Ok(Self {
            encoder,
            quant_conv,
        })
    }

    /// Images (B, 3, H, W) with values in [-1, 1] -> latents (B, d, H / patch, W / patch)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let z = self.encoder.forward(x)?;
        let z = self.quant_conv.forward(&FeatureMap::new(&z)?)?;
        Ok(z.to_tensor()?)
    }
}

/// The convolution beside the latent keeps its channels.
fn check_channels(w: &Weights, name: &str, conv: &Conv2d, channels: usize) -> Result<()> {
    if (conv.inputs(), conv.outputs()) == (channels, channels) {
        return Ok(());
    }
    let found = format!("{} to {}", conv.inputs(), conv.outputs());
    Err(w.mismatch(
        name,
        format!("{channels} channels, as the latent has"),
        found,
    ))
}
