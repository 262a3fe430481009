//! FlexAR and FlexTok as a pipeline: text or class, tokens one after the other, and the flow from
//! noise to an image. The scales of a search are the numbers of tokens 1, 2, 4, ... up to all: every
//! prefix decodes to a whole image.

mod architecture;
mod generator;
mod model;
mod outline;
mod rollout;
mod settings;

pub use architecture::{ARCHITECTURES, Architecture};
pub use generator::FlexArFamily;
pub use model::{FlexModel, FlexNetworks};
pub use rollout::{FlexRollout, NextToken};
pub use settings::Settings;

use std::ops::Range;

use candle_core::Tensor;
use ttsvar_search::{Estimate, Pipeline, Prompt, Rollout, Scale, Warning, Workload};

use crate::{
    Error, Result,
    pipelines::{
        TextEncoder,
        costs::{self, Networks, StepCosts},
    },
    text::Classes,
};

/// The unconditional prompt, with which the models were trained.
const NO_PROMPT: &str = "";

/// Tokens of [`NO_PROMPT`]: its end.
const NO_PROMPT_TOKENS: usize = 1;

impl FlexModel<'_> {
    /// Starts the candidates `rows` of a text by its features (T, width); `unconditional` are those
    /// of the negative prompt, which are needed if there is guidance.
    ///
    /// # Errors
    /// The features do not fit the transformer, or the second ones are missing.
    pub fn start(
        &self,
        features: &Tensor,
        unconditional: Option<&Tensor>,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<FlexRollout<'_>> {
        let networks = self.networks.get()?;
        let prior = &networks.prior;
        let texts = std::iter::once(features).chain(unconditional);
        let conditions = texts.map(|features| prior.text(features));
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        if conditions.len() < StepCosts::branches(self, 0) {
            return Err(Error::internal("guidance without a second text"));
        }
        // A GPU works asynchronously: do not count the time for the text at scale 0.
        prior.place().0.synchronize()?;
        Ok(FlexRollout::new(self, conditions, rows, seed))
    }

    /// Starts the candidates `rows` of a class.
    ///
    /// # Errors
    /// There is no such class.
    pub fn start_class(
        &self,
        class: usize,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<FlexRollout<'_>> {
        let conditions = self.class_conditions(class)?;
        self.networks.measured().prior.place().0.synchronize()?;
        Ok(FlexRollout::new(self, conditions, rows, seed))
    }
}

/// What prompts are made of.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Texts.
    Texts(&'a dyn TextEncoder),
    /// Classes.
    Classes(&'a Classes),
}

/// A loaded FlexAR, set up for a search.
pub struct FlexPipeline<'a> {
    model: FlexModel<'a>,
    source: Source<'a>,
    scales: Vec<Scale>,
    networks: Networks,
}

impl<'a> FlexPipeline<'a> {
    /// Adds to a model what prompts are made of. `networks` are all networks in memory while the
    /// pipeline is in use, its own included.
    ///
    /// # Errors
    /// The model does not read such prompts.
    pub fn new(model: FlexModel<'a>, source: Source<'a>, networks: Networks) -> Result<Self> {
        check_source(&model, source)?;
        Ok(Self {
            scales: scales(model.groups()),
            model,
            source,
            networks,
        })
    }

    /// The text of the unconditional branch; `None` if there is no guidance.
    fn unconditional<'p>(&self, prompt: &'p Prompt) -> Option<&'p str> {
        let negative = prompt.negative.as_deref().unwrap_or(NO_PROMPT);
        self.model.uses_guidance().then_some(negative)
    }

    /// The texts of a prompt: its own, and that of the unconditional branch.
    fn texts(&self, prompt: &Prompt) -> Vec<String> {
        let texts = std::iter::once(prompt.text.as_str()).chain(self.unconditional(prompt));
        texts.map(str::to_owned).collect()
    }

    fn begin_text(
        &self,
        text: &dyn TextEncoder,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<FlexRollout<'_>> {
        let features = text.encode_all(&self.texts(prompt))?;
        let mut rollout = self
            .model
            .start(&features[0], features.get(1), rows, seed)?;
        for features in &features {
            rollout.add_flops(text.flops(features.dims()[0]));
        }
        Ok(rollout)
    }

    fn begin_class(
        &self,
        classes: &Classes,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<FlexRollout<'_>> {
        let class = classes.of_prompt(&prompt.text).ok_or_else(|| {
            let example = classes.prompt(0);
            Error::input("this model takes a class, not a prompt").with_hint(format!(
                "choose one with --class; the prompt of a class is a text such as `{example}`"
            ))
        })?;
        self.model.start_class(class, rows, seed)
    }
}

/// Checks that a model reads such prompts.
fn check_source(model: &FlexModel, source: Source) -> Result<()> {
    let sizes = model.networks.measured().prior.sizes();
    match (source, sizes.text_width) {
        (Source::Classes(_), None) => Ok(()),
        (Source::Texts(text), Some(width)) if text.width() == width => Ok(()),
        (Source::Texts(text), Some(width)) => {
            let found = text.width();
            Err(Error::input(format!(
                "the transformer expects text features of width {width}, but the text encoder has \
                 {found}"
            ))
            .with_hint("the released models use flan-t5-xl"))
        }
        (Source::Texts(_), None) => Err(Error::input(
            "the transformer is class-conditional, not text-conditional",
        )
        .with_hint("describe it with the family `flexar-class`, without [text]")),
        (Source::Classes(_), Some(_)) => Err(Error::input(
            "the transformer is text-conditional, not class-conditional",
        )
        .with_hint("describe it with the family `flexar` and a text encoder")),
    }
}

/// Groups of tokens as the scales of a search: one row each.
fn scales(groups: &[usize]) -> Vec<Scale> {
    let scale = |&width: &usize| Scale { height: 1, width };
    groups.iter().map(scale).collect()
}

impl Pipeline for FlexPipeline<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        let (rows, columns) = self.model.latent_size();
        let patch = self.model.patch();
        (rows * patch, columns * patch)
    }

    fn prompt_warnings(&self, prompt: &Prompt) -> ttsvar_search::Result<Vec<Warning>> {
        let Source::Texts(text) = self.source else {
            return Ok(vec![]);
        };
        let Some(reader) = text.prompt_reader() else {
            return Ok(vec![]);
        };
        let mut warnings: Vec<Warning> = reader.check(&prompt.text, false)?.into_iter().collect();
        if let Some(negative) = self.unconditional(prompt) {
            warnings.extend(reader.check(negative, true)?);
        }
        Ok(warnings)
    }

    fn prepare(&self, prompts: &[Prompt]) -> ttsvar_search::Result<()> {
        let Source::Texts(text) = self.source else {
            return Ok(());
        };
        let texts: Vec<String> = prompts
            .iter()
            .flat_map(|prompt| self.texts(prompt))
            .collect();
        Ok(text.prepare(&texts)?)
    }

    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let rollout = match self.source {
            Source::Texts(text) => self.begin_text(text, prompt, rows, seed)?,
            Source::Classes(classes) => self.begin_class(classes, prompt, rows, seed)?,
        };
        Ok(Box::new(rollout))
    }

    fn branches(&self, scale: usize) -> usize {
        StepCosts::branches(&self.model, scale)
    }

    fn estimate(&self, workload: &Workload) -> Estimate {
        let guided = self.model.uses_guidance();
        let of_text = |tokens| match self.source {
            Source::Texts(text) => text.flops(tokens),
            Source::Classes(_) => 0.0,
        };
        costs::estimate(
            &self.model,
            self.networks,
            encoder_flops(guided, of_text),
            workload,
        )
    }
}

/// The operations of the text encoder for a prompt of a number of tokens, and with guidance for the
/// unconditional one.
fn encoder_flops(guided: bool, flops: impl Fn(usize) -> f64) -> impl Fn(usize) -> f64 {
    move |tokens| {
        let unconditional = match guided {
            true => flops(NO_PROMPT_TOKENS),
            false => 0.0,
        };
        flops(tokens) + unconditional
    }
}
