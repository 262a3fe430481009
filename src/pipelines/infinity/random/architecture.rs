//! The released sizes of Infinity (`infinity/models/infinity.py`, the functions at its end;
//! `tools/run_infinity.py`).

use candle_core::Device;

use super::RandomInfinity;
use crate::{
    Error, Result,
    models::{
        autoencoder::{Attention, DecoderSizes},
        infinity::{Config, Pixels},
    },
    nn::Dtype,
    options::Options,
    pipelines::{Outline, RandomArchitecture, RandomModel, infinity::InfinityOutline},
};
use ttsvar_search::suggestion::suggest;

/// A released size of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name.
    pub name: &'static str,
    width: usize,
    depth: usize,
    heads: usize,
    /// Latent cells along one side of a token.
    patch: usize,
    decoder: DecoderSizes<'static>,
}

const TEXT_WIDTH: usize = 2048; // flan-t5-xl
const TEXT_TOKENS: usize = 512;
const LEVELS: usize = 15;

/// 16 pixels along one side of a latent cell.
const COARSE: DecoderSizes = DecoderSizes {
    latent_channels: 32,
    base: 128,
    multipliers: &[1, 2, 4, 4, 4],
    blocks: 3,
    attention: Attention::None,
};
/// 8 pixels along one side of a latent cell.
const FINE: DecoderSizes = DecoderSizes {
    latent_channels: 14,
    base: 128,
    multipliers: &[1, 2, 4, 4],
    blocks: 3,
    attention: Attention::None,
};

/// All released sizes.
pub const ARCHITECTURES: [Architecture; 5] = [
    Architecture {
        name: "infinity-layer12",
        width: 768,
        depth: 12,
        heads: 8,
        patch: 1,
        decoder: COARSE,
    },
    Architecture {
        name: "infinity-layer16",
        width: 1152,
        depth: 16,
        heads: 12,
        patch: 1,
        decoder: COARSE,
    },
    Architecture {
        name: "infinity-layer24",
        width: 1536,
        depth: 24,
        heads: 16,
        patch: 1,
        decoder: COARSE,
    },
    Architecture {
        name: "2b",
        width: 2048,
        depth: 32,
        heads: 16,
        patch: 1,
        decoder: COARSE,
    },
    Architecture {
        name: "8b",
        width: 3584,
        depth: 40,
        heads: 28,
        patch: 2,
        decoder: FINE,
    },
];

impl Architecture {
    /// The architecture with a name.
    ///
    /// # Errors
    /// No architecture has this name.
    pub fn named(name: &str) -> Result<Self> {
        let names = ARCHITECTURES.map(|arch| arch.name);
        let unknown = || {
            let expected = format!("expected demo or one of {}", names.join(", "));
            Error::input(format!("unknown architecture `{name}`"))
                .with_hint(suggest(name, &names, &expected))
        };
        ARCHITECTURES
            .into_iter()
            .find(|arch| arch.name == name)
            .ok_or_else(unknown)
    }

    /// The sizes of its transformer.
    pub fn transformer(&self) -> Config {
        Config {
            width: self.width,
            depth: self.depth,
            heads: self.heads,
            text_width: TEXT_WIDTH,
            bits: self.decoder.latent_channels * self.patch * self.patch,
            // The feed-forward layers are four times as wide, rounded to multiples of 256.
            hidden: (4 * self.width + 128) / 256 * 256,
            levels: LEVELS,
            text_tokens: TEXT_TOKENS,
        }
    }

    /// The sizes of its decoder.
    pub fn decoder(&self) -> DecoderSizes<'static> {
        self.decoder
    }

    /// Latent cells along one side of a token.
    pub(in crate::pipelines) fn cells_per_token(&self) -> usize {
        self.patch
    }

    /// The number of parameters of its transformer.
    pub(in crate::pipelines) fn transformer_values(&self) -> usize {
        values(self.transformer().tensors())
    }
}

impl RandomArchitecture for Architecture {
    fn name(&self) -> &'static str {
        self.name
    }

    fn values(&self) -> usize {
        self.transformer_values() + values(self.decoder.tensors())
    }

    fn smallest(&self) -> Options {
        Options {
            pixels: Some(Pixels::P006M.to_string()),
            ..Options::default()
        }
    }

    fn outline(&self, options: &Options, dtype: Dtype) -> Result<Box<dyn Outline>> {
        Ok(Box::new(InfinityOutline::released(
            self.name, options, dtype,
        )?))
    }

    fn build(&self, dtype: Dtype, device: &Device) -> Result<Box<dyn RandomModel>> {
        Ok(Box::new(RandomInfinity::new(*self, dtype, device)?))
    }
}

/// The number of values in tensors of these shapes.
fn values(tensors: Vec<(String, Vec<usize>)>) -> usize {
    let shapes = tensors.iter().map(|(_, shape)| shape);
    shapes.map(|shape| shape.iter().product::<usize>()).sum()
}
