//! A model without its weights: its sizes are known, so the cost of a search is.

use ttsvar_search::{DecodeSize, Estimate, Scale, Workload};

use super::{Architecture, Settings, architecture::QWEN2, diffusion_branches};
use crate::{
    Result,
    loading::Dtype,
    models::{hart::Config, vq_vae},
    options::Options,
    pipelines::{
        Outline, OutlineContext,
        codebook::CodebookSettings,
        costs::{self, Networks, StepCosts},
        decoding::decoded_cells,
        scales_of,
    },
};

/// The sizes of a model, set up by options.
#[derive(Clone)]
pub(super) struct HartOutline {
    arch: Architecture,
    config: Config,
    settings: Settings,
    dtype: Dtype,
    rows_at_once: usize,
}

impl HartOutline {
    /// The outline of a size with options that [`super::HartFamily`] completed.
    ///
    /// # Errors
    /// A setting does not fit the model.
    pub(super) fn new(arch: Architecture, options: &Options, dtype: Dtype) -> Result<Self> {
        let settings = Settings::from_options(options);
        let config = arch.transformer();
        settings.check(config.grids.len())?;
        Ok(Self {
            arch,
            config,
            settings,
            dtype,
            rows_at_once: usize::MAX,
        })
    }

    fn latent_size(&self) -> (usize, usize) {
        self.config.grids.last().copied().unwrap_or((1, 1))
    }
}

impl Outline for HartOutline {
    fn scales(&self) -> Vec<Scale> {
        scales_of(&self.config.grids)
    }

    fn branches(&self) -> Vec<usize> {
        let scales = 0..self.config.grids.len();
        scales
            .map(|scale| StepCosts::branches(self, scale))
            .collect()
    }

    fn has_text_encoder(&self) -> bool {
        true
    }

    fn estimate(&self, workload: &Workload, context: OutlineContext) -> Estimate {
        let bytes = |values| self.dtype.bytes(values);
        let text = context.text_dtype.bytes(QWEN2.values());
        let mut networks = Networks {
            resident: bytes(self.arch.transformer_values())
                + self.arch.decoder().bytes_kept(self.dtype.of_activations())
                + context.resident,
            reading: 0,
            encoding: 0,
            encodes_first: true,
            scoring: context.scoring,
        };
        match context.evict_text {
            true => networks.encoding = text,
            false => networks.resident += text,
        }
        let model = Self {
            rows_at_once: context.rows_at_once.unwrap_or(usize::MAX),
            ..self.clone()
        };
        costs::estimate(&model, networks, |_| self.arch.text_flops(), workload)
    }
}

impl StepCosts for HartOutline {
    fn tokens(&self, scale: usize) -> usize {
        self.config.tokens(scale)
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.config.grids.len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, _: usize) -> f64 {
        self.config.text_flops()
    }

    fn row_flops(&self, tokens: usize, seen: usize, _: usize) -> f64 {
        self.config.scale_flops(tokens, seen)
    }

    fn extra_flops(&self, scale: usize) -> f64 {
        let scales = self.config.grids.len();
        match scale + 1 == scales {
            true => self
                .config
                .diffusion_flops(diffusion_branches(&self.settings, scales)),
            false => 0.0,
        }
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        let decoder = self.arch.decoder();
        let (rows, columns) = decoded_cells(size, self.latent_size(), decoder.patch());
        vq_vae::decode_flops(&decoder, rows * columns)
    }

    fn decode_bytes(&self) -> u64 {
        let (rows, columns) = self.latent_size();
        let values = self.arch.decoder().activation_values(rows * columns);
        (values * self.dtype.of_activations().size_in_bytes()) as u64
    }

    fn kv_bytes(&self, tokens: usize) -> u64 {
        self.config.kv_bytes(tokens, self.dtype.of_activations())
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.config.activation_bytes(rows, tokens, seen)
    }
}
