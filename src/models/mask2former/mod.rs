//! Mask2Former: finds the objects of an image and the pixels of each (arXiv 2112.01527), with a
//! Swin backbone.
//!
//! Reference: huggingface/transformers at v4.49.0,
//! `src/transformers/models/mask2former/modeling_mask2former.py`, lines 803-2142
//! and 2222-2480; the fields are named as in its files. Files
//! of mmdetection, whose names differ, are read through [`MmdetNames`].

use candle_core::{Device, Tensor};
use serde::Deserialize;

use crate::{
    Error, Result,
    nn::{Activation, Signature, Weights},
};

mod decoder;
mod deformable;
mod mmdet;
mod pixel_decoder;
mod positions;
mod swin;

pub use decoder::{Decoder, QueryOutputs};
pub use mmdet::MmdetNames;
pub use pixel_decoder::{PixelDecoder, PixelFeatures};
pub use swin::Swin;

/// All normalisations of the two decoders.
const EPS: f32 = 1e-5;

/// Settings that the weights do not reveal, from `config.json`, whose defaults are those of the
/// released Swin-S.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Settings of the backbone.
    pub backbone_config: SwinConfig,
    /// Heads of both decoders.
    pub num_attention_heads: usize,
    /// The activation of the transformer decoder's feed-forward layers.
    pub activation_function: Activation,
}

/// Settings of a Swin that its weights do not reveal.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct SwinConfig {
    /// Must be `swin`.
    pub model_type: String,
    /// Heads of each stage.
    pub num_heads: Vec<usize>,
    /// The activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in the LayerNorms of its blocks.
    pub layer_norm_eps: f32,
}

/// The released Swin-S: 32 numbers per head everywhere.
impl Default for Config {
    fn default() -> Self {
        Self {
            backbone_config: SwinConfig::default(),
            num_attention_heads: 8,
            activation_function: Activation::Relu,
        }
    }
}

impl Default for SwinConfig {
    fn default() -> Self {
        Self {
            model_type: "swin".to_owned(),
            num_heads: vec![3, 6, 12, 24],
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl Config {
    fn check(&self) -> Result<()> {
        let SwinConfig {
            model_type,
            num_heads,
            ..
        } = &self.backbone_config;
        if model_type != "swin" {
            return Err(Error::input(format!(
                "expected the backbone `swin` in the configuration, found `{model_type}`"
            ))
            .with_hint("use a Mask2Former with a Swin backbone"));
        }
        if num_heads.len() != STAGES || num_heads.contains(&0) || self.num_attention_heads == 0 {
            let found = format!("{num_heads:?} and {}", self.num_attention_heads);
            return Err(Error::input(format!(
                "expected {STAGES} stages with at least one head each in the configuration, \
                 found {found} heads"
            )));
        }
        Ok(())
    }
}

/// Stages of the backbone.
const STAGES: usize = 4;

/// Sides of images are multiples of this: the stride of the coarsest stage.
pub const STRIDE: usize = 32;

/// The network. Its other sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct Mask2Former {
    /// Pixels to features at strides 4, 8, 16 and 32.
    pub backbone: Swin,
    /// Exchanges information between these features.
    pub pixel_decoder: PixelDecoder,
    /// Queries that find objects in them.
    pub decoder: Decoder,
    device: Device,
}

impl Mask2Former {
    /// Tensors of every checkpoint, of Hugging Face and of mmdetection.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[
            &["model.transformer_module.queries_features.weight"],
            &["panoptic_head.query_feat.weight"],
        ],
    };

    /// Loads a file of Hugging Face.
    pub fn load(w: &Weights, config: &Config) -> Result<Self> {
        config.check()?;
        let pixels = w.pp("model.pixel_level_module");
        let backbone = Swin::load(&pixels.pp("encoder"), &config.backbone_config)?;
        let heads = config.num_attention_heads;
        let pixel_decoder = PixelDecoder::load(&pixels.pp("decoder"), &backbone.widths(), heads)?;
        let decoder = Decoder::load(w, pixel_decoder.width(), pixel_decoder.mask_width(), config)?;
        Ok(Self {
            backbone,
            pixel_decoder,
            decoder,
            device: w.device().clone(),
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The objects in images (B, 3, H, W), normalised with the mean and standard deviation of
    /// ImageNet.
    ///
    /// Fails unless each side is a multiple of [`STRIDE`].
    pub fn forward(&self, pixels: &Tensor) -> Result<QueryOutputs> {
        let (_, _, height, width) = pixels.dims4()?;
        if height == 0
            || width == 0
            || !height.is_multiple_of(STRIDE)
            || !width.is_multiple_of(STRIDE)
        {
            return Err(Error::input(format!(
                "Mask2Former expects sides that are multiples of {STRIDE}, \
                 found {width} x {height}"
            )));
        }
        let features = self.backbone.forward(pixels)?;
        Ok(self
            .decoder
            .forward(&self.pixel_decoder.forward(&features)?)?)
    }
}
