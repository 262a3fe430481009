//! The released sizes of VAR (`models/__init__.py`, `utils/arg_util.py`), also with random weights:
//! the values of weights do not affect timing.

use std::sync::Arc;

use candle_core::Device;
use ttsvar_search::Pipeline;

use super::{ClassModel, Settings, VarNetworks, VarOutline, VarPipeline};
use crate::{
    Result, hub,
    loading::RandomWeights,
    models::{
        autoencoder::DecoderSizes,
        var::{Config, Var},
        vq_vae::{self, Decoder, PUBLISHED_DECODER, PUBLISHED_VOCABULARY, Quantizer},
    },
    nn::{Dtype, Weights},
    options::Options,
    pipelines::{Networks, Outline, RandomArchitecture, RandomModel},
    text::Classes,
};

const CLASSES: usize = 1000;
const HEAD_WIDTH: usize = 64;

/// A released size of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name.
    pub name: &'static str,
    depth: usize,
    shared_modulation: bool,
}

/// All released sizes.
pub const ARCHITECTURES: [Architecture; 5] = [
    small("var-d16", 16),
    small("var-d20", 20),
    small("var-d24", 24),
    small("var-d30", 30),
    Architecture {
        name: "var-d36",
        depth: 36,
        shared_modulation: true,
    },
];

/// A size for 256 x 256 pixels.
const fn small(name: &'static str, depth: usize) -> Architecture {
    Architecture {
        name,
        depth,
        shared_modulation: false,
    }
}

impl Architecture {
    /// The size of this name.
    pub fn named(name: &str) -> Option<Self> {
        ARCHITECTURES.into_iter().find(|arch| arch.name == name)
    }

    /// The token grids (rows, columns), coarse to fine.
    pub fn grids(&self) -> Vec<(usize, usize)> {
        hub::released::var_grids(self.name)
    }

    /// The sizes of its transformer.
    pub fn transformer(&self) -> Config {
        let width = HEAD_WIDTH * self.depth;
        Config {
            width,
            depth: self.depth,
            heads: self.depth,
            classes: CLASSES,
            vocabulary: PUBLISHED_VOCABULARY,
            code_width: PUBLISHED_DECODER.latent_channels,
            hidden: 4 * width,
            grids: self.grids(),
            shared_modulation: self.shared_modulation,
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
        self.transformer_values()
            + values(&vq_vae::tensors(&PUBLISHED_DECODER, PUBLISHED_VOCABULARY))
    }

    fn smallest(&self) -> Options {
        Options::default()
    }

    fn outline(&self, options: &Options, dtype: Dtype) -> Result<Box<dyn Outline>> {
        Ok(Box::new(VarOutline::new(*self, options, dtype)?))
    }

    fn build(&self, dtype: Dtype, device: &Device) -> Result<Box<dyn RandomModel>> {
        let source = |tensors| Weights::new(Arc::new(RandomWeights::new(tensors)), dtype, device);
        let transformer = source(self.transformer().tensors());
        let tokenizer = source(vq_vae::tensors(&PUBLISHED_DECODER, PUBLISHED_VOCABULARY));
        let networks = VarNetworks {
            transformer: Var::load_with_grids(&transformer, self.grids())?,
            quantizer: Quantizer::load(&tokenizer.pp("quantize"))?,
            decoder: Decoder::load(&tokenizer)?,
        };
        Ok(Box::new(RandomVar {
            networks,
            // Only what was loaded is counted.
            bytes: transformer.bytes_kept() + tokenizer.bytes_kept(),
            classes: Classes::unnamed(CLASSES),
        }))
    }
}

/// Networks with random weights.
struct RandomVar {
    networks: VarNetworks,
    bytes: u64,
    classes: Classes,
}

impl RandomModel for RandomVar {
    fn prompt(&self) -> String {
        self.classes.prompt(0)
    }

    fn pipeline(&self, options: &Options, rows: usize) -> Result<Box<dyn Pipeline + '_>> {
        let model = ClassModel::new(&self.networks, Settings::from_options(options))?;
        let networks = Networks {
            resident: self.bytes,
            ..Networks::default()
        };
        let model = model.with_rows_at_once(rows);
        Ok(Box::new(VarPipeline::new(model, &self.classes, networks)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_were_published() {
        // Millions of parameters of the transformers, as the README of the release has them.
        for (arch, millions) in ARCHITECTURES.iter().zip([310, 600, 1000, 2000, 2300]) {
            let found = arch.transformer_values() as f64 / 1e6;
            let share = found / f64::from(millions);
            assert!((0.97..1.06).contains(&share), "{}: {found}", arch.name);
        }
    }

    #[test]
    fn grids_are_those_of_256_and_512_pixels() {
        let pixels = |arch: &Architecture| arch.decoder().patch() * arch.grids()[9].0;
        let found: Vec<usize> = ARCHITECTURES.iter().map(pixels).collect();
        assert_eq!(found, [256, 256, 256, 256, 512]);
        let positions = |name| Architecture::named(name).unwrap().transformer().positions();
        assert_eq!([positions("var-d16"), positions("var-d36")], [680, 2240]);
    }
}
