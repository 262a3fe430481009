//! The sizes of the released models, also with random weights: the values of weights do not affect
//! timing.
//!
//! Widths and depths are those that the authors state. Where the published files could not be seen,
//! sizes follow from the published numbers of parameters (`docs/weights.md`).

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ttsvar_search::Pipeline;

use super::{FlexModel, FlexNetworks, FlexPipeline, Settings, Source, outline::FlexOutline};
use crate::{
    Result,
    loading::RandomWeights,
    models::{
        autoencoder::DecoderSizes,
        flexar::{FlexAr, FlexArConfig, Sizes},
        flextok::{DecoderConfig, FlowDecoder, FlowSizes, Fsq},
        kl_vae,
    },
    nn::{Dtype, Weights},
    options::Options,
    pipelines::{
        FixedText, Networks, Outline, RandomArchitecture, RandomModel, costs::USUAL_TEXT,
        t5_text::FLAN_T5_XL,
    },
    text::Classes,
};

/// Values of a head.
const HEAD_WIDTH: usize = 64;

/// The levels of the released tokenizers, which give 64000 tokens.
const LEVELS: [usize; 6] = [8, 8, 8, 5, 5, 5];

/// Tokens of an image.
const TOKENS: usize = 256;

/// Rows and columns of a latent.
const LATENT: usize = 32;

/// Classes of ImageNet.
const CLASSES: usize = 1000;

/// Depth of the decoder of the tokenizer `d18-d28`.
const FLOW_DEPTH: usize = 28;

/// A size of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name.
    pub name: &'static str,
    width: usize,
    depth: usize,
    classes: bool,
    flow_depth: usize,
}

/// The released sizes with the tokenizer `d18-d28`, and one that is cut to fit a small machine.
pub const ARCHITECTURES: [Architecture; 6] = [
    architecture("flexar-113m", 768, 12),
    architecture("flexar-382m", 1152, 18),
    architecture("flexar-1b", 1664, 26),
    architecture("flexar-3b", 2304, 36),
    Architecture {
        classes: true,
        ..architecture("flexar-1b-class", 1664, 26)
    },
    Architecture {
        flow_depth: 2,
        ..architecture("flexar-d2", 1664, 2)
    },
];

const fn architecture(name: &'static str, width: usize, depth: usize) -> Architecture {
    Architecture {
        name,
        width,
        depth,
        classes: false,
        flow_depth: FLOW_DEPTH,
    }
}

impl Architecture {
    /// The size of this name.
    pub fn named(name: &str) -> Option<Self> {
        ARCHITECTURES.into_iter().find(|arch| arch.name == name)
    }

    /// A size that tests can build.
    #[cfg(test)]
    pub(super) fn small() -> Self {
        Self {
            flow_depth: 1,
            ..architecture("small", 128, 2)
        }
    }

    /// True if images are generated from classes.
    pub(super) fn takes_classes(&self) -> bool {
        self.classes
    }

    /// The sizes of its transformer.
    pub(super) fn prior(&self) -> Sizes {
        Sizes {
            width: self.width,
            depth: self.depth,
            hidden: self.width * 8 / 3,
            vocabulary: LEVELS.iter().product(),
            tokens: TOKENS,
            text_width: (!self.classes).then_some(FLAN_T5_XL.width),
            classes: self.classes.then_some(CLASSES),
        }
    }

    /// The sizes of its flow decoder.
    pub(super) fn flow(&self) -> FlowSizes {
        let width = HEAD_WIDTH * FLOW_DEPTH;
        FlowSizes {
            width,
            depth: self.flow_depth,
            hidden: width * 8 / 3,
            registers: TOKENS,
            channels: self.vae().latent_channels,
            code_width: LEVELS.len(),
            time_features: 256,
            parts: 2,
            patch: (2, 2),
            most: (LATENT / 2, LATENT / 2),
        }
    }

    /// The sizes of its VAE.
    pub(super) fn vae(&self) -> DecoderSizes<'static> {
        kl_vae::PUBLISHED_DECODER
    }

    /// Rows and columns of a latent.
    pub(super) fn latent_size(&self) -> (usize, usize) {
        (LATENT, LATENT)
    }

    /// The number of parameters of transformer and flow decoder.
    pub(super) fn network_values(&self) -> usize {
        self.prior().values() + self.flow().values(&DecoderConfig::published())
    }
}

impl RandomArchitecture for Architecture {
    fn name(&self) -> &'static str {
        self.name
    }

    fn values(&self) -> usize {
        let vae = self.vae().tensors().into_iter();
        let vae: usize = vae.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        self.network_values() + vae
    }

    fn smallest(&self) -> Options {
        Options::default()
    }

    fn outline(&self, options: &Options, dtype: Dtype) -> Result<Box<dyn Outline>> {
        Ok(Box::new(FlexOutline::new(*self, None, options, dtype)?))
    }

    fn build(&self, dtype: Dtype, device: &Device) -> Result<Box<dyn RandomModel>> {
        let source = |tensors| Weights::new(Arc::new(RandomWeights::new(tensors)), dtype, device);
        let sizes = self.prior();
        let prior = source(sizes.tensors());
        let config = FlexArConfig::published(self.width / HEAD_WIDTH, !self.classes);
        let decoder = DecoderConfig::published();
        let flow = source(self.flow().tensors(&decoder));
        let vae = source(kl_vae::tensors(&self.vae()));
        let networks = FlexNetworks {
            prior: FlexAr::load(&prior, &config)?,
            flow: FlowDecoder::load(&flow, &decoder, Fsq::new(LEVELS.to_vec())?)?,
            vae: kl_vae::Decoder::load(&vae, kl_vae::PUBLISHED_GROUPS)?,
            scaling_factor: 1.0,
            projected_guidance: true,
        };
        let features = Tensor::ones((USUAL_TEXT, FLAN_T5_XL.width), DType::F32, device)?;
        Ok(Box::new(RandomFlexAr {
            arch: *self,
            networks,
            // Only what was loaded is counted.
            bytes: prior.bytes_kept() + flow.bytes_kept() + vae.bytes_kept(),
            text: FixedText(features.to_dtype(prior.held_as())?),
            classes: Classes::unnamed(CLASSES),
        }))
    }
}

/// Networks with random weights.
struct RandomFlexAr {
    arch: Architecture,
    networks: FlexNetworks,
    bytes: u64,
    text: FixedText,
    classes: Classes,
}

impl RandomModel for RandomFlexAr {
    fn prompt(&self) -> String {
        match self.arch.classes {
            true => self.classes.prompt(0),
            false => "a photo of a red circle".to_owned(),
        }
    }

    fn pipeline(&self, options: &Options, rows: usize) -> Result<Box<dyn Pipeline + '_>> {
        let settings = Settings::from_options(options, self.arch.classes);
        let model = FlexModel::new(&self.networks, settings, None)?.with_rows_at_once(rows);
        let networks = Networks {
            resident: self.bytes,
            ..Networks::default()
        };
        let source = match self.arch.classes {
            true => Source::Classes(&self.classes),
            false => Source::Texts(&self.text),
        };
        Ok(Box::new(FlexPipeline::new(model, source, networks)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_were_published() {
        // 113, 382 and 3058 million parameters without embeddings, head and the layers of the text.
        let millions = |name: &str| {
            let sizes = Architecture::named(name).unwrap().prior();
            let shapes = sizes.tensors().into_iter();
            let blocks = shapes.filter(|(name, _)| name.contains(".blocks."));
            let values: usize = blocks
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum();
            values / 1_000_000
        };
        assert_eq!(
            ["flexar-113m", "flexar-382m", "flexar-1b", "flexar-3b"].map(millions),
            [113, 382, 1151, 3057]
        );
        // 2.5 billion for encoder, decoder and VAE; here the decoder alone.
        let flow = Architecture::named("flexar-1b").unwrap().flow();
        let billions = flow.values(&DecoderConfig::published()) as f64 / 1e9;
        assert!((billions - 2.17).abs() < 0.1, "{billions}");
    }
}
