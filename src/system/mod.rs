//! A system: a generator with the scorers and features that a search needs.
//!
//! [`System::builder`] opens one. `request/session.rs` sets it up for a search.

mod builder;
mod features;
mod loader;
mod memory;
mod outline;
mod repository;
mod scorers;
mod verifier;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ttsvar_search::{
    Drafts, Extractor, Features, LatentVerifier, Method, Pipeline, Plan, Scorer, Search, Verifier,
    WeightedScorer,
};

pub use builder::{Grids, SystemBuilder, find_bundle};
pub use loader::family;
pub use memory::{MemoryLimit, MemoryPlan, fit_outline, most_rows, too_little_memory};
pub use outline::ReleasedOutline;
pub use repository::model_of_repository;
pub use scorers::{LoadedScorer, ScorerSet, ScorerWithQuestions, with_questions};

use serde_json::{Map, Value};

use self::{builder::MissingParts, scorers::EvictableScorer, verifier::BundleVerifier};
use crate::{
    Error, Result, demo,
    hub::Description,
    loading::{Dtype, Evict, Evictable, LoadListener, LoadProgress, LoadReport},
    models::dinov2::Dinov2,
    options::Options,
    pipelines::{
        Conditioning, Edit, Editor, Family, Generator, ImageSize, PipelineContext, reading,
    },
    scorers::ScorerMix,
    text::{Classes, unknown_words},
};

/// Name of the bundle that is built into the program.
pub const DEMO: &str = "demo";

/// Bytes of a generator's weights below which its searches run side by side.
const SMALL_BYTES: u64 = 100_000_000;

/// A generator with the scorers and features that a search needs.
pub struct System {
    /// As the caller named it.
    model: String,
    description: Description,
    family: &'static dyn Family,
    dtype: Dtype,
    text_dtype: Dtype,
    device: candle_core::Device,
    progress: LoadProgress,
    missing: MissingParts,
    /// Prompts that are encoded before other networks are read; 0 if each is encoded when its search
    /// begins.
    prompts_ahead: AtomicUsize,
    generator: Box<dyn Generator>,
    scorer_mix: Option<ScorerMix>,
    /// What records say of the vision server that a scorer asks.
    asked: Map<String, Value>,
    usual_method: Method,
    state_dict: Option<String>,
    scorers: Vec<LoadedScorer>,
    /// Scorers that searches do not use.
    held_out: Vec<LoadedScorer>,
    /// The networks of the scorers, each once.
    scorer_networks: Vec<Arc<EvictableScorer>>,
    features: Option<Arc<Evictable<Dinov2>>>,
    extractors: BTreeMap<Features, Box<dyn Extractor>>,
    verifier: Option<BundleVerifier>,
    /// The block of the generator whose output is the hidden state of latents, if any.
    hidden_block: Option<usize>,
    report: LoadReport,
}

impl System {
    /// Prepares to open a system: [`DEMO`], a released model, or a folder with a `bundle.toml`.
    pub fn builder(model: impl Into<String>) -> SystemBuilder {
        SystemBuilder::new(model)
    }

    /// The model as the caller named it, which records keep.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The name in the description.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// The description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The type in which matrices are kept.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The type in which those of the text encoder are kept.
    pub fn text_dtype(&self) -> Dtype {
        self.text_dtype
    }

    /// The device that computes.
    pub fn device(&self) -> &candle_core::Device {
        &self.device
    }

    /// Returns whether the generator is so small that searches side by side, on one thread each,
    /// finish sooner than one after the other on all threads.
    pub fn is_small(&self) -> bool {
        let networks = self.generator.networks().into_iter();
        let networks = networks.chain(self.generator.evictable());
        let bytes: u64 = networks.map(Evict::bytes).sum();
        self.device.is_cpu() && bytes < SMALL_BYTES
    }

    /// Tells `listener` how far the reading of networks is. Only the first listener is told.
    pub fn watch_reading(&self, listener: impl LoadListener + 'static) {
        self.progress.tell(listener);
    }

    /// Announces that the next searches are for `count` prompts, which `Session::prepare` encodes
    /// before it reads other networks. If the text encoder does not stay in memory, it is then never
    /// there beside them, and estimates say so.
    pub fn expect_prompts(&self, count: usize) {
        self.prompts_ahead.store(count, Ordering::Relaxed);
    }

    /// Findings from loading the system.
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// The only words that the generator knows; `None` if it takes any.
    pub fn words(&self) -> Option<&[String]> {
        match self.generator.conditioning() {
            Conditioning::Text { words } => words,
            Conditioning::Class { .. } => None,
        }
    }

    /// The classes that the generator knows; `None` if it reads texts.
    pub fn classes(&self) -> Option<&Classes> {
        match self.generator.conditioning() {
            Conditioning::Text { .. } => None,
            Conditioning::Class { classes } => Some(classes),
        }
    }

    /// The words of a prompt that the generator does not know.
    pub fn unknown_words(&self, prompt: &str) -> Vec<String> {
        match self.words() {
            Some(known) => unknown_words(prompt, known),
            None => vec![],
        }
    }

    /// Every image size of the generator.
    pub fn image_sizes(&self) -> Vec<ImageSize> {
        self.generator.image_sizes()
    }

    /// The options completed with the bundle's defaults, the method that suits the scorers, and the
    /// released values of the family.
    ///
    /// # Errors
    /// The family does not support an option or its value.
    pub fn resolve(&self, options: &Options) -> Result<Options> {
        self.resolve_with(options, self.usual_method)
    }

    /// The same with another method for options that choose none.
    pub(crate) fn resolve_with(&self, options: &Options, usual: Method) -> Result<Options> {
        let completed = self
            .family
            .resolve(options.clone(), &self.description.defaults)?;
        Ok(completed.with_usual_method(usual))
    }

    /// The method of searches whose caller chooses none.
    pub fn usual_method(&self) -> Method {
        self.usual_method
    }

    /// What a user should know about options that [`System::resolve`] completed, one line each.
    pub fn advice(&self, options: &Options) -> Vec<String> {
        let of_family = self.family.advice(&self.description, options);
        let thresholds = matches!(options.method, Some(Method::Auto | Method::Sequential))
            && options.enough.is_none()
            && self.usual_method != Method::Auto;
        let of_scorers = thresholds.then(|| {
            "the default thresholds of auto and sequential suit ImageReward; \
             set --enough, and for auto --above, to suit this scorer"
                .to_owned()
        });
        let of_files = self.missing.unscored();
        let advice = of_family.into_iter().chain(of_scorers);
        advice.chain(of_files).collect()
    }

    /// Asks the generator for the output of this block, counted from 1, instead of the one that the
    /// bundle's verifier reads.
    pub fn with_hidden_block(self, block: usize) -> Self {
        Self {
            hidden_block: Some(block),
            ..self
        }
    }

    /// The generator set up by options that [`System::resolve`] completed; `rows_at_once` rows run
    /// through the network together, all of them if it is `None`.
    ///
    /// # Errors
    /// The model has no images of that aspect or size, or another option does not fit it.
    pub fn pipeline(
        &self,
        options: &Options,
        rows_at_once: Option<usize>,
    ) -> Result<Box<dyn Pipeline + '_>> {
        self.pipeline_for(options, rows_at_once, Uses::ALL, None)
    }

    /// Encodes images of which a part is to be regenerated, if the generator can.
    pub fn editor(&self) -> Option<&dyn Editor> {
        self.generator.editor()
    }

    /// The same for searches that use only some parts, or for an edit; the latter only of a system with
    /// an editor.
    pub(crate) fn pipeline_for(
        &self,
        options: &Options,
        rows_at_once: Option<usize>,
        uses: Uses,
        edit: Option<Arc<Edit>>,
    ) -> Result<Box<dyn Pipeline + '_>> {
        let prompts = self.prompts_ahead.load(Ordering::Relaxed);
        let encodes_first = prompts > 0 && self.evicts_text();
        let mut context = PipelineContext {
            rows_at_once,
            hidden_block: self.hidden_block,
            edit,
            encodes_first,
            ..PipelineContext::default()
        };
        if encodes_first {
            context.prompts = prompts as u64 * self.generator.prompt_bytes();
        }
        // Scorers and features run one after the other: of those that are evicted between their
        // uses, one at a time is in memory.
        for network in self.evaluation_networks(uses) {
            if network.is_resident() {
                context.resident += network.bytes();
                context.reading = context.reading.max(reading(network));
            } else {
                context.scoring = context.scoring.max(network.peak_bytes());
            }
        }
        self.generator.pipeline(options, context)
    }

    /// Returns whether a text encoder is in memory only while prompts are encoded.
    fn evicts_text(&self) -> bool {
        let mut text = self.generator.evictable().into_iter();
        text.any(|network| !network.is_resident())
    }

    /// Reads the networks that stay in memory and that a search uses, unless they are there.
    ///
    /// # Errors
    /// A file is gone or damaged.
    pub(crate) fn read_networks(&self, uses: Uses) -> Result<()> {
        let text = self.generator.evictable().into_iter();
        let networks = text.chain(self.generator.networks());
        for network in networks.chain(self.evaluation_networks(uses)) {
            network.read_if_resident()?;
        }
        Ok(())
    }

    /// Reads all networks that stay in memory, unless they are there.
    ///
    /// # Errors
    /// A file is gone or damaged.
    pub fn read_all_networks(&self) -> Result<()> {
        self.read_networks(Uses::ALL)
    }

    /// Checks that no files are missing of what a search uses.
    ///
    /// # Errors
    /// Files are missing; the error lists them.
    pub(crate) fn refuse_missing(&self, compares: bool, features: bool) -> Result<()> {
        self.missing.refuse(compares, features)
    }

    /// How methods score candidates that are not finished, unless the caller chooses.
    pub fn drafts(&self) -> Drafts {
        let usable = self
            .verifier
            .as_ref()
            .filter(|verifier| verifier.is_usable());
        usable.map_or_else(Drafts::default, BundleVerifier::drafts)
    }

    /// The latent verifier, if the bundle has one.
    pub fn verifier(&self) -> Option<&dyn LatentVerifier> {
        self.verifier.as_ref().map(|verifier| verifier as _)
    }

    /// A search of this system with all of its scorers.
    pub fn search<'a>(&'a self, pipeline: &'a dyn Pipeline) -> Search<'a> {
        let weighted = |scorer: &'a LoadedScorer| WeightedScorer {
            name: &scorer.name,
            weight: scorer.weight,
            scorer,
        };
        let scorers = self.scorers.iter().map(weighted).collect();
        let mut search = Search::unscored(pipeline, &self.extractors).with_scorers(scorers);
        search.verifier = self.verifier();
        search
    }

    /// The scorers of searches with the questions in `options`, then the held-out ones.
    ///
    /// # Errors
    /// There are questions, but none of the scorers answers lists of them.
    pub(crate) fn scorers_with_questions<'a>(
        &'a self,
        options: &Options,
    ) -> Result<(Vec<ScorerWithQuestions<'a>>, Vec<ScorerWithQuestions<'a>>)> {
        let mut searching = with_questions(self.scorers.iter().chain(&self.held_out), options)?;
        let held_out = searching.split_off(self.scorers.len());
        Ok((searching, held_out))
    }

    /// The first scorer.
    ///
    /// # Errors
    /// Its files are missing.
    pub fn scorer(&self) -> Result<&dyn Scorer> {
        self.refuse_missing(true, false)?;
        let first = self.scorers.first();
        let first = first.ok_or_else(|| Error::internal("a system without a scorer"))?;
        Ok(first)
    }

    /// All scorers; none if their files are missing.
    pub fn scorers(&self) -> &[LoadedScorer] {
        &self.scorers
    }

    /// The scorers that the caller chose in addition, which searches do not use.
    pub fn held_out(&self) -> &[LoadedScorer] {
        &self.held_out
    }

    /// The scorers that the caller chose; `None` for the bundle's default.
    pub fn scorer_mix(&self) -> Option<&ScorerMix> {
        self.scorer_mix.as_ref()
    }

    /// What records say of the vision server that the scorer `openai` asks; empty without it.
    pub fn asked(&self) -> &Map<String, Value> {
        &self.asked
    }

    /// The state dict that the caller chose in checkpoints with several.
    pub fn state_dict(&self) -> Option<&str> {
        self.state_dict.as_deref()
    }

    /// Feature extractors by the names that plans use.
    pub fn extractors(&self) -> &BTreeMap<Features, Box<dyn Extractor>> {
        &self.extractors
    }

    /// The networks of scorers, features and the latent verifier that a search uses.
    fn evaluation_networks(&self, uses: Uses) -> impl Iterator<Item = &dyn Evict> {
        let scorers = self
            .scorer_networks
            .iter()
            .map(|network| network.as_ref() as &dyn Evict);
        let features = self
            .features
            .iter()
            .filter(move |_| uses.features)
            .map(|model| model.as_ref() as &dyn Evict);
        let verifier = self.verifier.iter().filter(move |_| uses.verifier);
        let verifier = verifier.filter_map(BundleVerifier::network);
        scorers.chain(features).chain(verifier)
    }
}

/// The parts that searches use besides generator and scorers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uses {
    features: bool,
    verifier: bool,
}

impl Uses {
    /// All of them.
    pub(crate) const ALL: Self = Self {
        features: true,
        verifier: true,
    };

    /// The parts that searches by any of these plans use.
    pub(crate) fn of<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> Self {
        let mut uses = Self {
            features: false,
            verifier: false,
        };
        for plan in plans {
            let kinds = plan.features();
            uses.features |= kinds.iter().any(|kind| *kind != Features::Latent);
            let mut stages = plan.stages().iter();
            uses.verifier |= stages.any(|stage| stage.scores_with(Verifier::Latent));
        }
        uses
    }

    /// Returns whether features of images are used.
    pub(crate) fn features(self) -> bool {
        self.features
    }
}

/// The total size in bytes of the files of [`DEMO`].
pub fn demo_bytes() -> u64 {
    demo::FILES
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .sum()
}
