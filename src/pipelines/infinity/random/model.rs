//! A generator with random weights.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ttsvar_search::Pipeline;

use super::Architecture;
use crate::{
    Result,
    loading::RandomWeights,
    models::{
        autoencoder::{Attention, Decoder},
        infinity::{Infinity, Schedule},
    },
    nn::{Dtype, Weights},
    options::Options,
    pipelines::{
        FixedText, Networks, RandomModel,
        infinity::{ImageModel, InfinityPipeline, Settings, released_schedule},
    },
};

/// Tokens of the prompt, as in the reference program that `ttsvar bench` is compared with.
const TEXT_TOKENS: usize = 20;

/// Networks of one architecture.
pub struct RandomInfinity {
    transformer: Infinity,
    decoder: Decoder,
    text: FixedText,
    device: Device,
    bytes: u64,
}

impl RandomInfinity {
    /// Generates random weights of type `dtype`.
    ///
    /// # Errors
    /// The device does not have enough memory.
    pub fn new(arch: Architecture, dtype: Dtype, device: &Device) -> Result<Self> {
        let config = arch.transformer();
        let source = |tensors| Weights::new(Arc::new(RandomWeights::new(tensors)), dtype, device);
        let transformer = source(config.tensors());
        let decoder = source(arch.decoder().tensors());
        let features = Tensor::randn(0f32, 1.0, (TEXT_TOKENS, config.text_width), device)?;
        let features = features.to_dtype(transformer.held_as())?;
        let loaded_transformer = Infinity::load(&transformer)?;
        let loaded_decoder = Decoder::load(&decoder, Attention::None)?;
        Ok(Self {
            // Only what was loaded is counted.
            bytes: transformer.bytes_kept() + decoder.bytes_kept(),
            transformer: loaded_transformer,
            decoder: loaded_decoder,
            text: FixedText(features),
            device: device.clone(),
        })
    }

    /// [`RandomModel::pipeline`] over other token grids.
    ///
    /// # Errors
    /// The schedule has more scales than the transformer supports.
    pub fn scheduled_pipeline(
        &self,
        schedule: &Schedule,
        options: &Options,
        rows: usize,
    ) -> Result<Box<dyn Pipeline + '_>> {
        let model = ImageModel::new(
            &self.transformer,
            &self.decoder,
            schedule,
            Settings::from_options(options),
            &self.device,
        )?;
        let model = model.with_rows_at_once(rows);
        let networks = Networks {
            resident: self.bytes,
            ..Networks::default()
        };
        Ok(Box::new(InfinityPipeline::new(
            model, &self.text, networks,
        )?))
    }
}

impl RandomModel for RandomInfinity {
    fn prompt(&self) -> String {
        "a photo of a red circle".to_owned()
    }

    fn pipeline(&self, options: &Options, rows: usize) -> Result<Box<dyn Pipeline + '_>> {
        self.scheduled_pipeline(&released_schedule(options)?, options, rows)
    }
}
