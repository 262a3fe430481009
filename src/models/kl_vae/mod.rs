//! The VAE below FlexTok: Stable Diffusion's (arXiv 2112.10752), an encoder and a decoder between
//! images and normal distributions over latents.
//!
//! Reference: huggingface/diffusers, `src/diffusers/models/autoencoders/autoencoder_kl.py`
//! (`AutoencoderKL`) and `vae.py` (`Encoder`, `Decoder`, `DiagonalGaussianDistribution`);
//! apple/ml-flextok at 87d00cc, `flextok/vae_wrapper.py`, lines 15-37 and 189-235.

mod names;

use candle_core::Tensor;

pub use names::DiffusersNames;

use super::autoencoder::{self, Attention, DecoderSizes, Layout, Part};
use crate::{
    Result,
    nn::{Conv2d, FeatureMap, Signature, Weights},
};

/// Tensors of a file with this VAE alone.
pub const SIGNATURE: Signature = Signature {
    layouts: &[&[
        "decoder.conv_in.weight",
        "post_quant_conv.weight",
        "quant_conv.weight",
    ]],
};

/// The decoder of every published model.
pub const PUBLISHED_DECODER: DecoderSizes = DecoderSizes {
    latent_channels: 16,
    base: 128,
    multipliers: &[1, 2, 4, 4],
    blocks: 3,
    attention: Attention::Middle,
};

/// Groups of channels that are normalised together, in every published model.
pub const PUBLISHED_GROUPS: usize = 32;

/// Range of the logarithms of variances.
const LOG_VARIANCES: [f64; 2] = [-30.0, 20.0];

fn layout(groups: usize) -> Layout {
    Layout {
        attention: Attention::Middle,
        groups: Some(groups),
    }
}

/// Name and shape of every tensor that [`Decoder::load`] reads, for a decoder of these sizes.
pub fn tensors(decoder: &DecoderSizes) -> Vec<(String, Vec<usize>)> {
    let width = decoder.latent_channels;
    let tensors = decoder.tensors().into_iter();
    let mut all: Vec<_> = tensors
        .map(|(name, shape)| (format!("decoder.{name}"), shape))
        .collect();
    let weight = vec![width, width, 1, 1];
    all.push(("post_quant_conv.weight".to_owned(), weight));
    all.push(("post_quant_conv.bias".to_owned(), vec![width]));
    all
}

/// Floating-point operations of decoding one latent of this many cells with a decoder of these sizes.
pub fn decode_flops(decoder: &DecoderSizes, cells: usize) -> f64 {
    let width = decoder.latent_channels;
    2.0 * (cells * width * width) as f64 + decoder.flops(cells)
}

/// Latents to images.
#[derive(Clone, Debug)]
pub struct Decoder {
    post_quant_conv: Conv2d,
    decoder: autoencoder::Decoder,
}

impl Decoder {
    /// Reads `post_quant_conv` and `decoder` below `w`, in the names of [`DiffusersNames`]; every
    /// size but the number of groups is the file's.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies.
    pub fn load(w: &Weights, groups: usize) -> Result<Self> {
        let decoder = autoencoder::Decoder::load(&w.pp("decoder"), layout(groups))?;
        let post_quant_conv = Conv2d::load(&w.pp("post_quant_conv"), 1, 0)?;
        let channels = decoder.latent_channels();
        check_channels(w, "post_quant_conv", &post_quant_conv, [channels, channels])?;
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
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        self.decoder.forward(&self.post_quant(z)?)
    }

    /// The first layer: (B, d, h, w) -> (B, d, h, w)
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn post_quant(&self, z: &Tensor) -> Result<Tensor> {
        let z = self.post_quant_conv.forward(&FeatureMap::new(z)?)?;
        Ok(z.to_tensor()?)
    }

    /// The layers after [`Decoder::post_quant`]; `watch` receives the output of every part.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn forward_watching(
        &self,
        z: &Tensor,
        watch: &mut dyn FnMut(Part, &FeatureMap) -> Result<()>,
    ) -> Result<Tensor> {
        self.decoder.forward_watching(z, watch)
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

/// Images to distributions over latents.
#[derive(Clone, Debug)]
pub struct Encoder {
    encoder: autoencoder::Encoder,
    quant_conv: Conv2d,
}

impl Encoder {
    /// Reads `encoder` and `quant_conv` below `w`, as [`Decoder::load`] does.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies.
    pub fn load(w: &Weights, groups: usize) -> Result<Self> {
        let encoder = autoencoder::Encoder::load(&w.pp("encoder"), layout(groups))?;
        let quant_conv = Conv2d::load(&w.pp("quant_conv"), 1, 0)?;
        let channels = encoder.latent_channels();
        check_channels(w, "quant_conv", &quant_conv, [channels, channels])?;
        Ok(Self {
            encoder,
            quant_conv,
        })
    }

    /// Images (B, 3, H, W) with values in [-1, 1] -> the distribution of each latent
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn forward(&self, x: &Tensor) -> Result<Posterior> {
        Posterior::of_moments(&self.moments(&self.encoder.forward(x)?)?)
    }

    /// The layers before [`Encoder::moments`]; `watch` receives the output of every part.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn forward_watching(
        &self,
        x: &Tensor,
        watch: &mut dyn FnMut(Part, &FeatureMap) -> Result<()>,
    ) -> Result<Tensor> {
        self.encoder.forward_watching(x, watch)
    }

    /// The last layer: (B, 2d, h, w) -> (B, 2d, h, w)
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn moments(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.quant_conv.forward(&FeatureMap::new(x)?)?.to_tensor()?)
    }
}

/// A normal distribution over latents, each value by itself.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// (B, d, h, w)
    pub mean: Tensor,
    /// Logarithms of the variances: (B, d, h, w)
    pub logvar: Tensor,
}

impl Posterior {
    /// Means and logarithms of variances, one behind the other: (B, 2d, h, w)
    ///
    /// # Errors
    /// The number of channels is odd.
    pub fn of_moments(moments: &Tensor) -> Result<Self> {
        let parts = moments.chunk(2, 1)?;
        let [low, high] = LOG_VARIANCES;
        Ok(Self {
            mean: parts[0].contiguous()?,
            logvar: parts[1].clamp(low, high)?,
        })
    }

    /// Standard deviations: (B, d, h, w)
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn std(&self) -> Result<Tensor> {
        Ok((&self.logvar * 0.5)?.exp()?)
    }

    /// A latent for standard normal `noise` of the same shape.
    ///
    /// # Errors
    /// `noise` has another shape.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        Ok((&self.mean + (self.std()? * noise)?)?)
    }
}

/// Checks the channels that a convolution reads and returns.
fn check_channels(w: &Weights, name: &str, conv: &Conv2d, expected: [usize; 2]) -> Result<()> {
    let found = [conv.inputs(), conv.outputs()];
    if found == expected {
        return Ok(());
    }
    let [inputs, outputs] = found;
    Err(w.mismatch(
        name,
        format!(
            "{} to {} channels, as the latent has",
            expected[0], expected[1]
        ),
        format!("{inputs} to {outputs}"),
    ))
}
