//! Switti as a pipeline: text, transformer, sampling and decoder, scale by scale.

mod architecture;
mod generator;
mod outline;
mod rollout;
mod settings;
mod text;

pub use architecture::{ARCHITECTURES, Architecture};
pub use generator::SwittiFamily;
pub use rollout::SwittiRollout;
pub use settings::Settings;
pub use text::{ContextEncoder, FixedContext, context};

use std::ops::Range;

use ttsvar_search::{DecodeSize, Estimate, Pipeline, Prompt, Rollout, Scale, Warning, Workload};

use crate::{
    Error, Result,
    models::{
        switti::{Condition, Config, Context, Switti},
        vq_vae::{Decoder, Quantizer},
    },
    pipelines::{
        check_hidden_block,
        codes::check_tokenizer,
        costs::{self, Networks, StepCosts},
        rollout::{ModelRollout, ScaleModel},
    },
};

/// The unconditional prompt, with which the models were trained.
const NO_PROMPT: &str = "";

/// Tokens of [`NO_PROMPT`]: start and end.
const NO_PROMPT_TOKENS: usize = 2;

/// The networks of a generator, without the text encoders.
pub struct SwittiNetworks {
    /// Predicts tokens.
    pub transformer: Switti,
    /// Tokens to latents.
    pub quantizer: Quantizer,
    /// Latents to images.
    pub decoder: Decoder,
}

impl SwittiNetworks {
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

/// Generates images from contexts: everything except the text encoders.
pub struct TextModel<'a> {
    networks: &'a SwittiNetworks,
    settings: Settings,
    rows_at_once: usize,
    hidden_block: Option<usize>,
}

impl<'a> TextModel<'a> {
    /// Sets networks up.
    ///
    /// # Errors
    /// The settings are out of range, or the networks do not belong together.
    pub fn new(networks: &'a SwittiNetworks, settings: Settings) -> Result<Self> {
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

    /// Starts the candidates `rows` of a context; `unconditional` is that of the negative prompt,
    /// which is needed if there is guidance.
    ///
    /// # Errors
    /// A context has other widths than the transformer reads, or the second one is missing.
    pub fn start(
        &self,
        context: &Context,
        unconditional: Option<&Context>,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<SwittiRollout<'_>> {
        let contexts = std::iter::once(context).chain(unconditional);
        let conditions = contexts.map(|context| self.condition(context));
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        if conditions.len() < self.branches(0) {
            return Err(Error::internal("guidance without a second context"));
        }
        // A GPU works asynchronously: do not count the time for the text at scale 0.
        self.networks.transformer.device().synchronize()?;
        Ok(ModelRollout::new(self, conditions, rows, seed))
    }

    fn condition(&self, context: &Context) -> Result<Condition> {
        let config = self.config();
        let expected = [config.context_width, config.pooled_width];
        let found = [context.features.dims2()?.1, context.pooled.dims1()?];
        if found != expected {
            return Err(Error::internal(format!(
                "text features of widths {found:?}, expected {expected:?}"
            )));
        }
        self.networks.transformer.condition(context)
    }

    fn config(&self) -> &'a Config {
        self.networks.transformer.config()
    }

    /// Returns whether there is an unconditional branch at any scale.
    fn uses_guidance(&self) -> bool {
        self.branches(0) == 2
    }
}

impl StepCosts for TextModel<'_> {
    fn tokens(&self, scale: usize) -> usize {
        self.config().tokens(scale)
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.config().grids.len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, tokens: usize) -> f64 {
        self.config().text_flops(tokens)
    }

    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        self.config().scale_flops(tokens, seen, text)
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

    fn latent_bytes(&self) -> u64 {
        self.config().latent_bytes()
    }

    fn hidden_width(&self) -> usize {
        self.hidden_block.map_or(0, |_| self.config().width)
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.config().activation_bytes(rows, tokens, seen)
    }
}

/// A loaded Switti with its text encoders, set up for a search.
pub struct SwittiPipeline<'a> {
    model: TextModel<'a>,
    text: &'a dyn ContextEncoder,
    scales: Vec<Scale>,
    networks: Networks,
}

impl<'a> SwittiPipeline<'a> {
    /// Adds text encoders to a model. `networks` are all networks in memory while the pipeline is
    /// in use, its own included.
    ///
    /// # Errors
    /// The text encoders do not fit the transformer.
    pub fn new(
        model: TextModel<'a>,
        text: &'a dyn ContextEncoder,
        networks: Networks,
    ) -> Result<Self> {
        let config = model.config();
        check_text(config, text)?;
        let scale = |&(height, width): &(usize, usize)| Scale { height, width };
        Ok(Self {
            scales: config.grids.iter().map(scale).collect(),
            model,
            text,
            networks,
        })
    }

    /// The text of the unconditional branch; `None` if there is no guidance.
    fn unconditional<'p>(&self, prompt: &'p Prompt) -> Option<&'p str> {
        let negative = prompt.negative.as_deref().unwrap_or(NO_PROMPT);
        self.model.uses_guidance().then_some(negative)
    }
}

/// Checks that text encoders fit a transformer.
///
/// # Errors
/// Their features have other widths than the transformer reads.
fn check_text(config: &Config, text: &dyn ContextEncoder) -> Result<()> {
    let [width, pooled] = [config.context_width, config.pooled_width];
    let [found_width, found_pooled] = text.widths();
    if [width, pooled] == [found_width, found_pooled] {
        return Ok(());
    }
    let message = format!(
        "the transformer expects text features of width {width} and a pooled vector of {pooled}, \
         but the text encoders have {found_width} and {found_pooled}"
    );
    Err(Error::input(message)
        .with_hint("the released models use CLIP-L and OpenCLIP bigG, in this order"))
}

impl Pipeline for SwittiPipeline<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        let (rows, columns) = self.model.latent_size();
        let patch = self.model.patch();
        (rows * patch, columns * patch)
    }

    fn prompt_warnings(&self, prompt: &Prompt) -> ttsvar_search::Result<Vec<Warning>> {
        let Some(reader) = self.text.prompt_reader() else {
            return Ok(vec![]);
        };
        let mut warnings: Vec<Warning> = reader.check(&prompt.text, false)?.into_iter().collect();
        if let Some(negative) = self.unconditional(prompt) {
            warnings.extend(reader.check(negative, true)?);
        }
        Ok(warnings)
    }

    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let context = self.text.encode(&prompt.text)?;
        let unconditional = match self.unconditional(prompt) {
            Some(negative) => Some(self.text.encode(negative)?),
            None => None,
        };
        let mut rollout = self
            .model
            .start(&context, unconditional.as_ref(), rows, seed)?;
        for context in std::iter::once(&context).chain(&unconditional) {
            rollout.add_flops(self.text.flops(context.features.dims()[0]));
        }
        Ok(Box::new(rollout))
    }

    fn branches(&self, scale: usize) -> usize {
        self.model.branches(scale)
    }

    fn estimate(&self, workload: &Workload) -> Estimate {
        let encoder_flops = encoder_flops(self.model.uses_guidance(), |n| self.text.flops(n));
        costs::estimate(&self.model, self.networks, encoder_flops, workload)
    }
}

/// The operations of the text encoders for a prompt of a number of tokens, and with guidance for
/// the unconditional one.
fn encoder_flops(guided: bool, flops: impl Fn(usize) -> f64) -> impl Fn(usize) -> f64 {
    move |tokens| {
        let unconditional = match guided {
            true => flops(NO_PROMPT_TOKENS),
            false => 0.0,
        };
        flops(tokens) + unconditional
    }
}
