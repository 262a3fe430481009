//! HART as a pipeline: text, transformer, sampling, diffusion head and decoder, scale by scale.

mod architecture;
mod generator;
mod outline;
mod rollout;
mod settings;
mod text;

pub use architecture::{ARCHITECTURES, Architecture};
pub use generator::HartFamily;
pub use rollout::{HartDraw, HartRollout};
pub use settings::{Settings, position, released_top_k};
pub use text::{ContextEncoder, FixedContext, INSTRUCTION, Qwen2Text};

use std::ops::Range;

use ttsvar_search::{Estimate, Pipeline, Prompt, Rollout, Scale, Warning, Workload};

use crate::{
    Error, Result,
    models::hart::{Condition, Config, Context, Hart},
    pipelines::{
        codebook::{CodebookModel, CodebookNetworks, CodebookSettings},
        costs::{self, Networks, StepCosts},
        rollout::{ModelRollout, ScaleModel},
        scales_of,
    },
};

/// The networks of a generator, without the text encoder. The transformer predicts tokens, and with
/// its diffusion head what they leave over.
pub type HartNetworks = CodebookNetworks<Hart>;

/// Generates images from contexts: everything except the text encoder.
pub type TextModel<'a> = CodebookModel<'a, Hart>;

impl<'a> TextModel<'a> {
    /// Starts the candidates `rows` of a context.
    ///
    /// # Errors
    /// The context has another shape than the transformer reads.
    pub fn start(
        &self,
        context: &Context,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<HartRollout<'_>> {
        let config = self.config();
        let expected = [config.context_tokens, config.context_width];
        if context.features.dims() != expected || context.positions.len() != expected[0] {
            let found = context.features.dims();
            return Err(Error::internal(format!(
                "text features of shape {found:?}, expected {expected:?}"
            )));
        }
        let networks = self.networks.get()?;
        let transformer = &networks.transformer;
        let mut conditions: Vec<Condition> = vec![transformer.condition(Some(context))?];
        if self.uses_guidance() {
            conditions.push(transformer.condition(None)?);
        }
        // A GPU works asynchronously: do not count the time for the text at scale 0.
        transformer.device().synchronize()?;
        Ok(ModelRollout::new(self, conditions, rows, seed))
    }

    fn config(&self) -> &'a Config {
        self.sizes().config()
    }
}

/// The branches of guidance that the diffusion head runs.
fn diffusion_branches(settings: &Settings, scales: usize) -> usize {
    let guided = crate::models::hart::is_guided(settings.guidance(scales - 1, scales));
    if guided { 2 } else { 1 }
}

/// A loaded HART with its text encoder, set up for a search.
pub struct HartPipeline<'a> {
    model: TextModel<'a>,
    text: &'a dyn ContextEncoder,
    scales: Vec<Scale>,
    networks: Networks,
}

impl<'a> HartPipeline<'a> {
    /// Adds a text encoder to a model. `networks` are all networks in memory while the pipeline is
    /// in use, its own included.
    ///
    /// # Errors
    /// The text encoder does not fit the transformer.
    pub fn new(
        model: TextModel<'a>,
        text: &'a dyn ContextEncoder,
        networks: Networks,
    ) -> Result<Self> {
        let expected = model.config().context_width;
        let found = text.width();
        if expected != found {
            let message = format!(
                "the transformer expects text features of width {expected}, \
                 but the text encoder has width {found}"
            );
            return Err(Error::input(message)
                .with_hint("the released model uses mit-han-lab/Qwen2-VL-1.5B-Instruct"));
        }
        Ok(Self {
            scales: scales_of(model.grids()),
            model,
            text,
            networks,
        })
    }
}

impl Pipeline for HartPipeline<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        let (rows, columns) = self.model.latent_size();
        let patch = self.model.patch();
        (rows * patch, columns * patch)
    }

    fn prompt_warnings(&self, prompt: &Prompt) -> ttsvar_search::Result<Vec<Warning>> {
        match self.text.prompt_reader() {
            Some(reader) => Ok(reader.check(&prompt.text, false)?.into_iter().collect()),
            None => Ok(vec![]),
        }
    }

    fn prepare(&self, prompts: &[Prompt]) -> ttsvar_search::Result<()> {
        let texts = prompts.iter().map(|prompt| prompt.text.clone());
        let texts: Vec<String> = texts.collect();
        Ok(self.text.prepare(&texts)?)
    }

    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let context = self.text.encode(&prompt.text)?;
        let mut rollout = self.model.start(&context, rows, seed)?;
        rollout.add_flops(self.text.flops());
        Ok(Box::new(rollout))
    }

    fn branches(&self, scale: usize) -> usize {
        self.model.branches(scale)
    }

    fn estimate(&self, workload: &Workload) -> Estimate {
        costs::estimate(&self.model, self.networks, |_| self.text.flops(), workload)
    }
}
