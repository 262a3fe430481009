//! The sizes of Switti, also with random weights: the values of weights do not affect timing.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ttsvar_search::Pipeline;

use super::{
    FixedContext, Settings, SwittiNetworks, SwittiPipeline, TextModel, outline::SwittiOutline,
};
use crate::{
    Result,
    hub::released,
    loading::RandomWeights,
    models::{
        autoencoder::DecoderSizes,
        clip::TextSizes,
        switti::{Config, Context, Switti, SwittiConfig},
        vq_vae::{self, Decoder, PUBLISHED_DECODER, PUBLISHED_VOCABULARY, Quantizer},
    },
    nn::{Dtype, Weights},
    options::Options,
    pipelines::{Networks, Outline, RandomArchitecture, RandomModel, costs::USUAL_TEXT},
};

/// Values of a head, and heads per block: the width is a multiple of the depth.
const HEAD_WIDTH: usize = 64;
const DEPTH: usize = 30;

/// Sides of the token grids for 512 and for 1024 pixels.
const SIDES_512: &[usize] = &[1, 2, 3, 4, 6, 9, 13, 18, 24, 32];
const SIDES_1024: &[usize] = &[1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64];

/// The text encoders: that of CLIP ViT-L/14, and that of OpenCLIP ViT-bigG/14 (their
/// `config.json`).
pub(super) const ENCODERS: [TextSizes; 2] = [
    TextSizes {
        words: 49_408,
        positions: 77,
        width: 768,
        hidden: 3072,
        layers: 12,
    },
    TextSizes {
        words: 49_408,
        positions: 77,
        width: 1280,
        hidden: 5120,
        layers: 32,
    },
];

/// A size of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name.
    pub name: &'static str,
    sides: &'static [usize],
    sees_earlier_scales: bool,
    depth: usize,
}

/// The released sizes, and one that is cut to fit a small machine: it has the token grids, the
/// codebook and the decoder of `switti-1024`, and the width that belongs to its depth.
pub const ARCHITECTURES: [Architecture; 5] = [
    architecture("switti", SIDES_512, false, DEPTH),
    architecture("switti-ar", SIDES_512, true, DEPTH),
    architecture("switti-1024", SIDES_1024, false, DEPTH),
    architecture("switti-1024-ar", SIDES_1024, true, DEPTH),
    architecture("switti-1024-d4", SIDES_1024, false, 4),
];

const fn architecture(
    name: &'static str,
    sides: &'static [usize],
    sees_earlier_scales: bool,
    depth: usize,
) -> Architecture {
    Architecture {
        name,
        sides,
        sees_earlier_scales,
        depth,
    }
}

impl Architecture {
    /// The size of this name.
    pub fn named(name: &str) -> Option<Self> {
        ARCHITECTURES.into_iter().find(|arch| arch.name == name)
    }

    /// The sizes of its transformer.
    pub fn transformer(&self) -> Config {
        let width = HEAD_WIDTH * self.depth;
        let [first, second] = ENCODERS;
        Config {
            width,
            depth: self.depth,
            hidden: width * 8 / 3,
            gated: true,
            vocabulary: PUBLISHED_VOCABULARY,
            code_width: PUBLISHED_DECODER.latent_channels,
            context_width: first.width + second.width,
            pooled_width: second.width,
            grids: self.sides.iter().map(|side| (*side, *side)).collect(),
            rotary: true,
            sees_earlier_scales: self.sees_earlier_scales,
            crop: true,
        }
    }

    /// The `config.json` that describes it.
    fn file(&self) -> SwittiConfig {
        SwittiConfig {
            use_ar: self.sees_earlier_scales,
            ..SwittiConfig::default()
        }
    }

    /// The sizes of its decoder.
    pub(super) fn decoder(&self) -> DecoderSizes<'static> {
        PUBLISHED_DECODER
    }

    /// The number of parameters of its transformer.
    pub(super) fn transformer_values(&self) -> usize {
        values(&self.transformer().tensors())
    }

    /// The released options of its size, where `options` leave them open.
    fn with_released(&self, options: &Options) -> Options {
        let described = released::description(self.name);
        let described = described.or_else(|| released::description("switti-1024"));
        let defaults = described.map(|description| description.defaults);
        options.clone().or(&defaults.unwrap_or_default())
    }
}

/// The number of values in tensors of these shapes.
fn values(tensors: &[(String, Vec<usize>)]) -> usize {
    let shapes = tensors.iter().map(|(_, shape)| shape);
    shapes.map(|shape| shape.iter().product::<usize>()).sum()
}

impl RandomArchitecture for Architecture {
    fn name(&self) -> &'static str {
        self.name
    }

    fn values(&self) -> usize {
        let tokenizer = vq_vae::tensors(&PUBLISHED_DECODER, PUBLISHED_VOCABULARY);
        self.transformer_values() + values(&tokenizer)
    }

    fn smallest(&self) -> Options {
        Options::default()
    }

    fn outline(&self, options: &Options, dtype: Dtype) -> Result<Box<dyn Outline>> {
        let options = self.with_released(options);
        Ok(Box::new(SwittiOutline::new(*self, &options, dtype)?))
    }

    fn build(&self, dtype: Dtype, device: &Device) -> Result<Box<dyn RandomModel>> {
        let source = |tensors| Weights::new(Arc::new(RandomWeights::new(tensors)), dtype, device);
        let config = self.transformer();
        let transformer = source(config.tensors());
        let tokenizer = source(vq_vae::tensors(&PUBLISHED_DECODER, PUBLISHED_VOCABULARY));
        let grids = config.grids.clone();
        let networks = SwittiNetworks {
            transformer: Switti::load_with_grids(&transformer, &self.file(), grids)?,
            quantizer: Quantizer::load(&tokenizer.pp("quantize"))?,
            decoder: Decoder::load(&tokenizer)?,
        };
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, device);
        let context = Context {
            features: ones(&[USUAL_TEXT, config.context_width])?,
            pooled: ones(&[config.pooled_width])?,
        };
        Ok(Box::new(RandomSwitti {
            arch: *self,
            networks,
            // Only what was loaded is counted.
            bytes: transformer.bytes_kept() + tokenizer.bytes_kept(),
            text: FixedContext(context),
        }))
    }
}

/// Networks with random weights.
struct RandomSwitti {
    arch: Architecture,
    networks: SwittiNetworks,
    bytes: u64,
    text: FixedContext,
}

impl RandomModel for RandomSwitti {
    fn prompt(&self) -> String {
        "a photo of a red circle".to_owned()
    }

    fn pipeline(&self, options: &Options, rows: usize) -> Result<Box<dyn Pipeline + '_>> {
        let settings = Settings::from_options(&self.arch.with_released(options));
        let model = TextModel::new(&self.networks, settings)?;
        let networks = Networks {
            resident: self.bytes,
            ..Networks::default()
        };
        let model = model.with_rows_at_once(rows);
        Ok(Box::new(SwittiPipeline::new(model, &self.text, networks)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_were_published() {
        // 2.5 billion parameters in the paper. The encoders as diffusers loads them for SDXL have
        // 123,060,480 and 694,659,840, of which 1280 x 1280 are a projection that is not used here.
        let millions = |values: usize| values as f64 / 1e6;
        let transformer = millions(ARCHITECTURES[0].transformer_values());
        assert!((transformer - 2470.5).abs() < 1.0, "{transformer}");
        let encoders = ENCODERS.map(|sizes| sizes.values());
        assert_eq!(encoders, [123_060_480, 694_659_840 - 1280 * 1280]);
    }

    #[test]
    fn images_have_512_and_1024_pixels() {
        let pixels =
            |arch: Architecture| arch.sides[arch.sides.len() - 1] * PUBLISHED_DECODER.patch();
        assert_eq!(ARCHITECTURES.map(pixels), [512, 512, 1024, 1024, 1024]);
    }

    #[test]
    fn only_the_variants_that_see_earlier_scales_keep_anything() {
        let bytes = |name: &str| {
            let config = Architecture::named(name).unwrap().transformer();
            config.kv_bytes(config.positions(), DType::BF16)
        };
        assert_eq!(bytes("switti"), 0);
        assert_eq!(bytes("switti-1024"), 0);
        // 516 MB and 2.2 GB for each row.
        assert_eq!(bytes("switti-ar") / 1_000_000, 516);
        assert_eq!(bytes("switti-1024-ar") / 1_000_000, 2177);
    }
}
