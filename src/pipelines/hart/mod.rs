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

use ttsvar_search::{DecodeSize, Estimate, Pipeline, Prompt, Rollout, Scale, Warning, Workload};

use crate::{
    Error, Result,
    models::{
        hart::{Condition, Config, Context, Hart},
        vq_vae::{Decoder, Quantizer},
    },
    pipelines::{
        check_hidden_block,
        codes::check_tokenizer,
        costs::{self, Networks, StepCosts},
        rollout::{ModelRollout, ScaleModel},
    },
};

/// The networks of a generator, without the text encoder.
pub struct HartNetworks {
    /// Predicts tokens, and with its diffusion head what they leave over.
    pub transformer: Hart,
    /// Tokens to latents.
    pub quantizer: Quantizer,
    /// Latents to images.
    pub decoder: Decoder,
}

impl HartNetworks {
    /// Checks that the networks belong together.
    ///
    /// # Errors
    /// The decoder or the codebook has other sizes than the transformer.
    fn check(&self) -> Result<()> {
        let config = self.transformer.config();
        let expected = [config.vocabulary, config.code_width];
        check_tokenizer(expected, &self.quantizer, &self.decoder)
    }
}

/// Generates images from contexts: everything except the text encoder.
pub struct TextModel<'a> {
    networks: &'a HartNetworks,
    settings: Settings,
    rows_at_once: usize,
    hidden_block: Option<usize>,
}

impl<'a> TextModel<'a> {
    /// Sets networks up.
    ///
    /// # Errors
    /// The settings are out of range, or the networks do not belong together.
    pub fn new(networks: &'a HartNetworks, settings: Settings) -> Result<Self> {
        networks.check()?;
        settings.check(networks.transformer.config().grids.len())?;
        Ok(Self {
            networks,
            settings,
            rows_at_once: usize::MAX,
            hidden_block: None,
        })
    }

    /// Runs at most `rows` rows through the network together, which saves memory and changes no
    /// result.
    pub fn with_rows_at_once(self, rows: usize) -> Self {
        Self {
            rows_at_once: rows.max(1),
            ..self
        }
    }

    /// Keeps the output of this block, counted from 1, for the tokens of the latest scale, as the
    /// hidden state of each latent; `None` keeps none.
    ///
    /// # Errors
    /// There is no such block.
    pub fn with_hidden_block(self, block: Option<usize>) -> Result<Self> {
        check_hidden_block(block, self.config().depth)?;
        Ok(Self {
            hidden_block: block,
            ..self
        })
    }

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
        let transformer = &self.networks.transformer;
        let mut conditions: Vec<Condition> = vec![transformer.condition(Some(context))?];
        if self.branches(0) == 2 {
            conditions.push(transformer.condition(None)?);
        }
        // A GPU works asynchronously: do not count the time for the text at scale 0.
        transformer.device().synchronize()?;
        Ok(ModelRollout::new(self, conditions, rows, seed))
    }

    fn config(&self) -> &'a Config {
        self.networks.transformer.config()
    }
}

/// The branches of guidance that the diffusion head runs.
fn diffusion_branches(settings: &Settings, scales: usize) -> usize {
    let guided = crate::models::hart::is_guided(settings.guidance(scales - 1, scales));
    if guided { 2 } else { 1 }
}

impl StepCosts for TextModel<'_> {
    fn tokens(&self, scale: usize) -> usize {
        self.config().tokens(scale)
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.grids().len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, _: usize) -> f64 {
        self.config().text_flops()
    }

    fn row_flops(&self, tokens: usize, seen: usize, _: usize) -> f64 {
        self.config().scale_flops(tokens, seen)
    }

    fn extra_flops(&self, scale: usize) -> f64 {
        let scales = self.grids().len();
        match scale + 1 == scales {
            true => self
                .config()
                .diffusion_flops(diffusion_branches(&self.settings, scales)),
            false => 0.0,
        }
    }

    fn decode_flops(&self, size: DecodeSize) -> f64 {
        let (rows, columns) = self.decoded_cells(size);
        self.networks.decoder.flops(rows * columns)
    }

    fn decode_bytes(&self) -> u64 {
        self.networks.decoder.activation_bytes(self.latent_size())
    }

    fn kv_bytes(&self, tokens: usize) -> u64 {
        self.networks.transformer.kv_bytes(tokens)
    }

    fn hidden_width(&self) -> usize {
        self.hidden_block.map_or(0, |_| self.config().width)
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.config().activation_bytes(rows, tokens, seen)
    }
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
        let scale = |&(height, width): &(usize, usize)| Scale { height, width };
        Ok(Self {
            scales: model.grids().iter().map(scale).collect(),
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
