//! A released model without its weights: its sizes are known, so the cost of a search is.

use ttsvar_search::{DecodeSize, Estimate, Scale, Workload};

use super::{Architecture, Settings};
use crate::{
    Result,
    loading::Dtype,
    models::{var::Config, vq_vae},
    options::Options,
    pipelines::{
        Outline, OutlineContext,
        codebook::CodebookSettings,
        costs::{self, Networks, StepCosts},
        decoding::decoded_cells,
        scales_of,
    },
    text::Classes,
};

/// The sizes of a released model, set up by options.
#[derive(Clone)]
pub(in crate::pipelines) struct VarOutline {
    arch: Architecture,
    config: Config,
    settings: Settings,
    dtype: Dtype,
    rows_at_once: usize,
}

impl VarOutline {
    /// The outline of a size with options that [`super::VarFamily`] completed.
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

impl Outline for VarOutline {
    fn scales(&self) -> Vec<Scale> {
        scales_of(&self.config.grids)
    }

    fn branches(&self) -> Vec<usize> {
        let scales = 0..self.config.grids.len();
        scales
            .map(|scale| StepCosts::branches(self, scale))
            .collect()
    }

    fn classes(&self) -> Option<Classes> {
        Some(Classes::unnamed(self.config.classes))
    }

    fn has_text_encoder(&self) -> bool {
        false
    }

    fn estimate(&self, workload: &Workload, context: OutlineContext) -> Estimate {
        let transformer = self.dtype.bytes(self.arch.transformer_values());
        let networks = Networks {
            resident: transformer
                + self.arch.decoder().bytes_kept(self.dtype.of_activations())
                + context.resident,
            reading: 0,
            encoding: 0,
            encodes_first: true,
            scoring: context.scoring,
        };
        let model = Self {
            rows_at_once: context.rows_at_once.unwrap_or(usize::MAX),
            ..self.clone()
        };
        costs::estimate(&model, networks, |_| 0.0, workload)
    }
}

impl StepCosts for VarOutline {
    fn tokens(&self, scale: usize) -> usize {
        let (rows, columns) = self.config.grids[scale];
        rows * columns
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.config.grids.len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, _: usize) -> f64 {
        self.config.class_flops()
    }

    fn row_flops(&self, tokens: usize, seen: usize, _: usize) -> f64 {
        self.config.scale_flops(tokens, seen)
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::pipelines::RandomArchitecture;

    #[test]
    fn an_outline_costs_what_the_loaded_model_does() {
        let arch = Architecture::named("var-d16").unwrap();
        let model = arch.build(Dtype::Bf16, &Device::Cpu).unwrap();
        for cfg in ["4", "0", "1,1,0"] {
            let options = Options {
                cfg: Some(cfg.parse().unwrap()),
                ..Options::default()
            };
            let outline = VarOutline::new(arch, &options, Dtype::Bf16).unwrap();
            let pipeline = model.pipeline(&options, usize::MAX).unwrap();
            let branches = (0..outline.scales().len()).map(|scale| pipeline.branches(scale));
            assert_eq!(Outline::branches(&outline), branches.collect::<Vec<_>>());
            assert_eq!(outline.scales(), pipeline.scales());
            let widths: Vec<usize> = (1..=outline.scales().len()).rev().collect();
            for size in [DecodeSize::Full, DecodeSize::Preview(64)] {
                let workload = Workload {
                    widths: widths.clone(),
                    suspended: vec![1; widths.len()],
                    decodes: widths.clone(),
                    size,
                };
                let expected = pipeline.estimate(&workload);
                let found = outline.estimate(&workload, OutlineContext::default());
                let flops = found.flops / expected.flops;
                assert!((flops - 1.0).abs() < 1e-9, "{flops} {expected:?}");
                // Padding of weights, the codebook and small tensors kept in f32 are left out.
                let bytes = found.peak_bytes as f64 / expected.peak_bytes as f64;
                assert!((0.96..=1.0).contains(&bytes), "{bytes} {expected:?}");
            }
        }
    }
}
