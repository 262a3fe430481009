//! A released model without its weights: its sizes are known, so the cost of a search is.

use ttsvar_search::{DecodeSize, Estimate, Scale, Workload};

use super::{Settings, random::Architecture, released_schedule, steering::steering_costs};
use crate::{
    Result,
    loading::Dtype,
    models::infinity::Config,
    options::Options,
    pipelines::{
        Outline, OutlineContext,
        costs::{self, Networks, SteeringCosts, StepCosts},
        decoding::decoded_cells,
        scales_of,
        t5_text::FLAN_T5_XL,
    },
};

/// The sizes of a released model, set up by options.
#[derive(Clone)]
pub(super) struct InfinityOutline {
    arch: Architecture,
    config: Config,
    grids: Vec<(usize, usize)>,
    settings: Settings,
    dtype: Dtype,
    rows_at_once: usize,
}

impl InfinityOutline {
    /// The outline of a released model with options that [`super::InfinityFamily`] completed.
    ///
    /// # Errors
    /// The model or the image size is not known, or a setting does not fit the model.
    pub(super) fn released(name: &str, options: &Options, dtype: Dtype) -> Result<Self> {
        let arch = Architecture::named(match name {
            "infinity-2b" => "2b",
            "infinity-8b" | "infinity-8b-512" => "8b",
            other => other,
        })?;
        let grids = released_schedule(options)?.grids;
        let settings = Settings::from_options(options);
        settings.check(grids.len())?;
        Ok(Self {
            arch,
            config: arch.transformer(),
            grids,
            settings,
            dtype,
            rows_at_once: usize::MAX,
        })
    }

    /// Cells of the latent.
    fn cells(&self) -> (usize, usize) {
        let patch = self.arch.cells_per_token();
        let (rows, columns) = self.grids.last().copied().unwrap_or((1, 1));
        (rows * patch, columns * patch)
    }
}

impl Outline for InfinityOutline {
    fn scales(&self) -> Vec<Scale> {
        scales_of(&self.grids)
    }

    fn branches(&self) -> Vec<usize> {
        let scales = 0..self.grids.len();
        scales
            .map(|scale| StepCosts::branches(self, scale))
            .collect()
    }

    fn has_text_encoder(&self) -> bool {
        true
    }

    fn estimate(&self, workload: &Workload, context: OutlineContext) -> Estimate {
        let bytes = |values| self.dtype.bytes(values);
        let text = context.text_dtype.bytes(FLAN_T5_XL.values());
        let mut networks = Networks {
            resident: bytes(self.arch.transformer_values())
                + self.arch.decoder().bytes_kept(self.dtype.of_activations())
                + context.resident,
            reading: 0,
            encoding: 0,
            encodes_first: true,
            scoring: context.scoring,
        };
        if context.evict_text {
            networks.encoding = text;
        } else {
            networks.resident += text;
        }
        let encoder_flops = |tokens| FLAN_T5_XL.flops(tokens);
        let model = Self {
            rows_at_once: context.rows_at_once.unwrap_or(usize::MAX),
            ..self.clone()
        };
        costs::estimate(&model, networks, encoder_flops, workload)
    }
}

impl StepCosts for InfinityOutline {
    fn tokens(&self, scale: usize) -> usize {
        let (rows, columns) = self.grids[scale];
        rows * columns
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.grids.len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn steering(&self) -> Option<SteeringCosts> {
        steering_costs(&self.settings.steer, &self.grids, &self.config)
    }

    fn text_flops(&self, tokens: usize) -> f64 {
        self.config.text_flops(tokens)
    }

    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        self.config.scale_flops(tokens, seen, text)
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        let decoder = self.arch.decoder();
        let (rows, columns) = decoded_cells(size, self.cells(), decoder.patch());
        decoder.flops(rows * columns)
    }

    fn decode_bytes(&self) -> u64 {
        let (rows, columns) = self.cells();
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
    use super::*;
    use crate::options::Steer;
    use crate::pipelines::{RandomModel, costs::USUAL_TEXT, infinity::random::RandomInfinity};

    #[test]
    fn an_outline_costs_what_the_loaded_model_does() {
        let name = "infinity-layer12";
        let model = RandomInfinity::new(
            Architecture::named(name).unwrap(),
            Dtype::Bf16,
            &candle_core::Device::Cpu,
        )
        .unwrap();
        for (cfg, steer) in [("3", "off"), ("1", "auto"), ("3,3,1,3,1", "off")] {
            let options = Options {
                pixels: Some("0.06M".to_owned()),
                cfg: Some(cfg.parse().unwrap()),
                steer: Some(Steer::from_argument(steer).unwrap()),
                ..Options::default()
            };
            let outline = InfinityOutline::released(name, &options, Dtype::Bf16).unwrap();
            let pipeline = model.pipeline(&options, usize::MAX).unwrap();
            assert_same_cost(&outline, pipeline.as_ref());
        }
    }

    /// Operations of the text encoder, which the random model does not have.
    fn encoder_flops(outline: &InfinityOutline) -> f64 {
        let regions = outline.steering().map_or(0.0, |steering| {
            steering.texts as f64 * FLAN_T5_XL.flops(steering.tokens)
        });
        FLAN_T5_XL.flops(USUAL_TEXT) + regions
    }

    fn assert_same_cost(outline: &InfinityOutline, pipeline: &dyn ttsvar_search::Pipeline) {
        let branches = (0..outline.scales().len()).map(|scale| pipeline.branches(scale));
        assert_eq!(Outline::branches(outline), branches.collect::<Vec<_>>());
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
            let context = OutlineContext {
                text_dtype: Dtype::Bf16,
                ..OutlineContext::default()
            };
            let found = outline.estimate(&workload, context);
            let flops = found.flops - encoder_flops(outline);
            assert!(
                (flops / expected.flops - 1.0).abs() < 1e-9,
                "{flops} {expected:?}"
            );
            // Padding of weights and a few small tensors that are kept in f32 are left out.
            let bytes = found.peak_bytes - (2 * FLAN_T5_XL.values()) as u64;
            let ratio = bytes as f64 / expected.peak_bytes as f64;
            assert!(
                (0.97..=1.0).contains(&ratio),
                "{ratio} {bytes} {expected:?}"
            );
        }
    }
}
