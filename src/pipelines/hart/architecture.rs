//! The sizes of HART, also with random weights: the values of weights do not affect timing.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ttsvar_search::Pipeline;

use super::{FixedContext, HartNetworks, HartPipeline, Settings, TextModel, outline::HartOutline};
use crate::{
    Result,
    loading::RandomWeights,
    models::{
        autoencoder::DecoderSizes,
        hart::{Config, Context, Hart, HartConfig},
        qwen2::Qwen2Sizes,
        vq_vae::{self, Decoder, PUBLISHED_DECODER, PUBLISHED_VOCABULARY, Quantizer},
    },
    nn::{Dtype, Weights},
    options::Options,
    pipelines::{Networks, Outline, RandomArchitecture, RandomModel},
};

const WIDTH: usize = 1536;

/// The text encoder: the language model of Qwen2-VL-2B (its `config.json`).
pub(super) const QWEN2: Qwen2Sizes = Qwen2Sizes {
    rows: 151_936,
    width: WIDTH,
    key_width: 256,
    hidden: 8960,
    layers: 28,
};

/// Tokens of the instruction in front of a prompt, about.
const INSTRUCTION_TOKENS: usize = 150;

/// A size of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name.
    pub name: &'static str,
    sides: &'static [usize],
}

/// The released size for 1024 pixels, and one for 512 with the token grids of VAR. The paper has
/// both, but weights for 512 pixels are not published.
pub const ARCHITECTURES: [Architecture; 2] = [
    Architecture {
        name: "hart",
        sides: &[1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64],
    },
    Architecture {
        name: "hart-512",
        sides: &[1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
    },
];

impl Architecture {
    /// The size of this name.
    pub fn named(name: &str) -> Option<Self> {
        ARCHITECTURES.into_iter().find(|arch| arch.name == name)
    }

    /// The sizes of its transformer.
    pub fn transformer(&self) -> Config {
        Config {
            width: WIDTH,
            depth: 24,
            heads: 24,
            hidden: 4096,
            vocabulary: PUBLISHED_VOCABULARY,
            code_width: PUBLISHED_DECODER.latent_channels,
            context_tokens: 300,
            context_width: QWEN2.width,
            context_norm: true,
            grids: self.sides.iter().map(|side| (*side, *side)).collect(),
            head_width: 1024,
            head_depth: 6,
            steps: 8,
        }
    }

    /// The `config.json` that describes it.
    fn file(&self) -> HartConfig {
        let config = self.transformer();
        HartConfig {
            patch_nums: self.sides.to_vec(),
            num_heads: config.heads,
            context_token: config.context_tokens,
            num_sampling_steps: config.steps.to_string(),
            norm_eps: 1e-6,
            attn_type: "llama".to_owned(),
            mlp_type: "llama".to_owned(),
            disable_aln: true,
            attn_l2_norm: false,
            use_cross_attn: false,
            use_timestep_embed: true,
            sep_aln_pooling_mode: "max".to_owned(),
        }
    }

    /// The sizes of its decoder.
    pub(super) fn decoder(&self) -> DecoderSizes<'static> {
        PUBLISHED_DECODER
    }

    /// Floating-point operations of the text encoder for a prompt.
    pub(super) fn text_flops(&self) -> f64 {
        QWEN2.flops(INSTRUCTION_TOKENS + self.transformer().context_tokens)
    }

    /// The number of parameters of its transformer, the diffusion head included.
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
        Ok(Box::new(HartOutline::new(*self, options, dtype)?))
    }

    fn build(&self, dtype: Dtype, device: &Device) -> Result<Box<dyn RandomModel>> {
        let source = |tensors| Weights::new(Arc::new(RandomWeights::new(tensors)), dtype, device);
        let transformer = source(self.transformer().tensors());
        let tokenizer = source(vq_vae::tensors(&PUBLISHED_DECODER, PUBLISHED_VOCABULARY));
        let networks = HartNetworks {
            transformer: Hart::load(&transformer, &self.file())?,
            quantizer: Quantizer::load(&tokenizer.pp("quantize"))?,
            decoder: Decoder::load(&tokenizer)?,
        };
        let config = networks.transformer.config();
        let shape = (config.context_tokens, config.context_width);
        let context = Context {
            features: Tensor::ones(shape, networks.transformer.dtype(), device)?,
            positions: (0..config.context_tokens as i64).collect(),
        };
        Ok(Box::new(RandomHart {
            networks,
            // Only what was loaded is counted.
            bytes: transformer.bytes_kept() + tokenizer.bytes_kept(),
            text: FixedContext(context),
        }))
    }
}

/// Networks with random weights.
struct RandomHart {
    networks: HartNetworks,
    bytes: u64,
    text: FixedContext,
}

impl RandomModel for RandomHart {
    fn prompt(&self) -> String {
        "a photo of a red circle".to_owned()
    }

    fn pipeline(&self, options: &Options, rows: usize) -> Result<Box<dyn Pipeline + '_>> {
        let model = TextModel::new(&self.networks, Settings::from_options(options))?;
        let networks = Networks {
            resident: self.bytes,
            ..Networks::default()
        };
        let model = model.with_rows_at_once(rows);
        Ok(Box::new(HartPipeline::new(model, &self.text, networks)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_were_published() {
        // 732 million parameters in the paper, 37 of them in the diffusion head.
        let millions = ARCHITECTURES[0].transformer_values() as f64 / 1e6;
        assert!((millions - 732.0).abs() < 1.0, "{millions}");
    }

    #[test]
    fn images_have_1024_and_512_pixels() {
        let pixels =
            |arch: Architecture| arch.sides[arch.sides.len() - 1] * PUBLISHED_DECODER.patch();
        assert_eq!(ARCHITECTURES.map(pixels), [1024, 512]);
    }
}
