//! A released model without its weights: its sizes are known, so the cost of a search is.

use ttsvar_search::{DecodeSize, Estimate, Scale, Workload};

use super::{
    Architecture, Settings, encoder_flops,
    model::{flow_bytes, groups, row_flops},
    scales,
};
use crate::{
    Result,
    loading::Dtype,
    models::{flexar::Sizes, flextok::FlowSizes, kl_vae},
    options::Options,
    pipelines::{
        Outline, OutlineContext,
        costs::{self, Networks, StepCosts},
        decoding::decoded_cells,
        t5_text::FLAN_T5_XL,
    },
    text::Classes,
};

/// The sizes of a model, set up by options.
#[derive(Clone)]
pub(super) struct FlexOutline {
    arch: Architecture,
    prior: Sizes,
    flow: FlowSizes,
    settings: Settings,
    groups: Vec<usize>,
    dtype: Dtype,
    rows_at_once: usize,
}

impl FlexOutline {
    /// The outline of a size whose scales end with `prefixes`, with options that
    /// [`super::FlexArFamily`] completed.
    ///
    /// # Errors
    /// A setting does not fit the model.
    pub(super) fn new(
        arch: Architecture,
        prefixes: Option<&[usize]>,
        options: &Options,
        dtype: Dtype,
    ) -> Result<Self> {
        let settings = Settings::from_options(options, arch.takes_classes());
        let prior = arch.prior();
        let groups = groups(prefixes, prior.tokens)?;
        settings.check(groups.len())?;
        Ok(Self {
            flow: arch.flow(),
            arch,
            prior,
            settings,
            groups,
            dtype,
            rows_at_once: usize::MAX,
        })
    }

    fn reads_text(&self) -> bool {
        !self.arch.takes_classes()
    }

    /// All networks of a system.
    fn networks(&self, context: OutlineContext) -> Networks {
        let mut networks = Networks {
            resident: self.dtype.bytes(self.arch.network_values())
                + self.arch.vae().bytes_kept(self.dtype.of_activations())
                + context.resident,
            reading: 0,
            encoding: 0,
            encodes_first: self.reads_text(),
            scoring: context.scoring,
        };
        let text = context.text_dtype.bytes(FLAN_T5_XL.values());
        match (self.reads_text(), context.evict_text) {
            (false, _) => {}
            (true, true) => networks.encoding = text,
            (true, false) => networks.resident += text,
        }
        networks
    }

    /// Operations of decoding an image in so many steps.
    fn flops_in(&self, steps: usize, size: DecodeSize) -> f64 {
        let latent = self.arch.latent_size();
        let vae = self.arch.vae();
        let (rows, columns) = decoded_cells(size, latent, vae.patch());
        let branches = self.settings.decoder_branches();
        let of_step = branches as f64 * self.flow.flops(latent) + self.flow.time_flops();
        steps as f64 * of_step + kl_vae::decode_flops(&vae, rows * columns)
    }
}

impl Outline for FlexOutline {
    fn scales(&self) -> Vec<Scale> {
        scales(&self.groups)
    }

    fn branches(&self) -> Vec<usize> {
        let scales = 0..self.groups.len();
        scales
            .map(|scale| StepCosts::branches(self, scale))
            .collect()
    }

    fn classes(&self) -> Option<Classes> {
        self.prior.classes.map(Classes::unnamed)
    }

    fn has_text_encoder(&self) -> bool {
        self.reads_text()
    }

    fn estimate(&self, workload: &Workload, context: OutlineContext) -> Estimate {
        let model = Self {
            rows_at_once: context.rows_at_once.unwrap_or(usize::MAX),
            ..self.clone()
        };
        let guided = StepCosts::branches(self, 0) > 1;
        let of_text = |tokens| match self.reads_text() {
            true => FLAN_T5_XL.flops(tokens),
            false => 0.0,
        };
        let encoder_flops = encoder_flops(guided, of_text);
        costs::estimate(&model, self.networks(context), encoder_flops, workload)
    }
}

impl StepCosts for FlexOutline {
    fn tokens(&self, scale: usize) -> usize {
        self.groups[scale]
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.groups.len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, tokens: usize) -> f64 {
        self.prior.text_flops(tokens)
    }

    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        row_flops(&self.prior, tokens, seen, text)
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        self.flops_in(self.settings.decoder_steps, size)
    }

    fn preview_flops(&self, size: DecodeSize) -> f64 {
        self.flops_in(self.settings.preview_steps, size)
    }

    fn decode_bytes(&self) -> u64 {
        let latent = self.arch.latent_size();
        let vae = self.arch.vae().activation_values(latent.0 * latent.1);
        let vae = (vae * self.dtype.of_activations().size_in_bytes()) as u64;
        flow_bytes(&self.flow, &self.settings, self.rows_at_once, latent).max(vae)
    }

    fn kv_bytes(&self, tokens: usize) -> u64 {
        self.prior.kv_bytes(tokens, self.dtype.of_activations())
    }

    fn activation_bytes(&self, rows: usize, _: usize, seen: usize) -> u64 {
        self.prior.activation_bytes(rows, seen)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::pipelines::{RandomArchitecture, costs::USUAL_TEXT};

    #[test]
    fn an_outline_costs_what_the_loaded_model_does() {
        let arch = Architecture::small();
        let model = arch.build(Dtype::Bf16, &Device::Cpu).unwrap();
        for (cfg, preview_steps) in [("3", 25), ("1", 5), ("3,3,1", 25)] {
            let options = Options {
                cfg: Some(cfg.parse().unwrap()),
                preview_steps: Some(preview_steps),
                ..Options::default()
            };
            let outline = FlexOutline::new(arch, None, &options, Dtype::Bf16).unwrap();
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
                let context = OutlineContext {
                    text_dtype: Dtype::Bf16,
                    ..OutlineContext::default()
                };
                let mut found = outline.estimate(&workload, context);
                // The model has made-up texts in place of a text encoder.
                found.flops -= encoder_flops(cfg != "1", |n| FLAN_T5_XL.flops(n))(USUAL_TEXT);
                found.peak_bytes -= Dtype::Bf16.bytes(FLAN_T5_XL.values());
                let flops = found.flops / expected.flops;
                assert!((flops - 1.0).abs() < 1e-9, "{flops} {expected:?}");
                // Embeddings and tables, padding and small tensors are kept in f32.
                let bytes = found.peak_bytes as f64 / expected.peak_bytes as f64;
                assert!((0.9..=1.0).contains(&bytes), "{bytes} {expected:?}");
            }
        }
    }
}
