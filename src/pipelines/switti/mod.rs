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

use ttsvar_search::{Estimate, Pipeline, Prompt, Rollout, Scale, Warning, Workload};

use crate::{
    Error, Result,
    models::switti::{Condition, Config, Context, Switti},
    pipelines::{
        codebook::{CodebookModel, CodebookNetworks},
        costs::{self, Networks, StepCosts},
        rollout::{ModelRollout, ScaleModel},
        scales_of,
    },
};

/// The unconditional prompt, with which the models were trained.
const NO_PROMPT: &str = "";

/// Tokens of [`NO_PROMPT`]: start and end.
const NO_PROMPT_TOKENS: usize = 2;

/// The networks of a generator, without the text encoders.
pub type SwittiNetworks = CodebookNetworks<Switti>;

/// Generates images from contexts: everything except the text encoders.
pub type TextModel<'a> = CodebookModel<'a, Switti>;

impl<'a> TextModel<'a> {
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
        self.sizes().device().synchronize()?;
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
        self.networks.get()?.transformer.condition(context)
    }

    fn config(&self) -> &'a Config {
        self.sizes().config()
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
        Ok(Self {
            scales: scales_of(&config.grids),
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

    fn prepare(&self, prompts: &[Prompt]) -> ttsvar_search::Result<()> {
        let mut texts = vec![];
        for prompt in prompts {
            texts.push(prompt.text.clone());
            texts.extend(self.unconditional(prompt).map(str::to_owned));
        }
        Ok(self.text.prepare(&texts)?)
    }

    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        // All texts before the transformer, which may not have been read yet
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
