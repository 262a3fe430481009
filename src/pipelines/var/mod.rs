//! VAR as a pipeline: class, transformer, sampling and decoder, scale by scale.

mod architecture;
mod generator;
mod outline;
mod rollout;

pub use architecture::{ARCHITECTURES, Architecture};
pub use generator::VarFamily;
use outline::VarOutline;
pub use rollout::VarRollout;

use std::ops::Range;

use ttsvar_search::{DecodeSize, Estimate, Pipeline, Prompt, Rollout, Scale, Workload};

use crate::{
    Error, Result,
    models::{
        var::{Class, Var},
        vq_vae::{Decoder, Quantizer},
    },
    options::{Options, PerScale},
    pipelines::{
        codes::{Sampling, Smooth, check_tokenizer, position},
        costs::{self, Networks, StepCosts},
        rollout::{ModelRollout, ScaleModel},
    },
    text::Classes,
};

/// Settings of sampling and guidance.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Guidance: its weight grows from 0 at the first scale to `cfg` at the last; 0 at a scale and
    /// all later ones leaves out the unconditional branch there.
    pub cfg: PerScale,
    /// Temperature of the tokens; greater than 0.
    pub tau: PerScale,
    /// Keeps the most likely tokens up to this total probability; 0 keeps all.
    pub top_p: PerScale,
    /// Keeps this many tokens; 0 keeps all.
    pub top_k: usize,
    /// Adds mixtures of codes instead of drawn ones.
    pub more_smooth: bool,
    /// Computes [`Rollout::token_statistics`].
    pub token_statistics: bool,
}

impl Default for Settings {
    /// Those of the released demo (`demo_sample.ipynb`): cfg 4, top-k 900, top-p 0.95.
    fn default() -> Self {
        Self {
            cfg: PerScale::from(4.0),
            tau: PerScale::from(1.0),
            top_p: PerScale::from(0.95),
            top_k: 900,
            more_smooth: false,
            token_statistics: false,
        }
    }
}

impl Settings {
    /// The settings in `options`; unset ones take the released values.
    pub fn from_options(options: &Options) -> Self {
        let options = options.clone().with_preset_values();
        let released = Self::default();
        Self {
            cfg: options.cfg.unwrap_or(released.cfg),
            tau: options.tau.unwrap_or(released.tau),
            top_p: options.top_p.unwrap_or(released.top_p),
            top_k: options.top_k.unwrap_or(released.top_k),
            more_smooth: options.more_smooth.unwrap_or(released.more_smooth),
            token_statistics: options
                .token_statistics
                .unwrap_or(released.token_statistics),
        }
    }

    /// The number of guidance branches at a scale of `scales`: conditional, and unconditional
    /// unless guidance has no weight there and at all later scales.
    ///
    /// At a scale without guidance before one with it, the unconditional branch runs for its keys
    /// and values, which the later scale attends to.
    fn branches(&self, scale: usize, scales: usize) -> usize {
        let guided = (scale..scales).any(|scale| self.guidance(scale, scales) != 0.0);
        if guided { 2 } else { 1 }
    }

    fn guidance(&self, scale: usize, scales: usize) -> f64 {
        guidance_weight(self.cfg.at(scale), scale, scales)
    }

    fn sampling(&self, scale: usize, scales: usize) -> Sampling {
        Sampling {
            top_p: self.top_p.at(scale),
            top_k: self.top_k,
            smooth: self
                .more_smooth
                .then(|| Smooth::at(position(scale, scales))),
        }
    }

    /// Checks that all settings are in range and have at most one value for each of `scales` scales.
    ///
    /// # Errors
    /// A number is out of range, or a list is too long.
    fn check(&self, scales: usize) -> Result<()> {
        let options = Options {
            cfg: Some(self.cfg.clone()),
            tau: Some(self.tau.clone()),
            top_p: Some(self.top_p.clone()),
            top_k: Some(self.top_k),
            ..Options::default()
        };
        options.check_ranges()?;
        options.check_lengths(scales)
    }
}

/// The weight t of guidance at a scale: `(1 + t) * conditional - t * unconditional`. It grows from
/// 0 to `cfg`.
pub fn guidance_weight(cfg: f32, scale: usize, scales: usize) -> f64 {
    f64::from(cfg) * position(scale, scales)
}

/// The networks of a generator.
pub struct VarNetworks {
    /// Predicts tokens.
    pub transformer: Var,
    /// Tokens to latents.
    pub quantizer: Quantizer,
    /// Latents to images.
    pub decoder: Decoder,
}

impl VarNetworks {
    /// Checks that the networks belong together.
    ///
    /// # Errors
    /// The decoder or the codebook has other sizes than the transformer.
    fn check(&self) -> Result<()> {
        let config = self.transformer.config();
        let expected = [config.vocabulary, config.code_width];
        check_tokenizer(expected, &self.quantizer, &self.decoder).map_err(|error| {
            error.with_hint(
                "use the tokenizer that was released with the transformer, vae_ch160v4096z32.pth",
            )
        })
    }
}

/// Generates images of classes.
pub struct ClassModel<'a> {
    networks: &'a VarNetworks,
    settings: Settings,
    rows_at_once: usize,
    hidden_block: Option<usize>,
}

impl<'a> ClassModel<'a> {
    /// Sets networks up.
    ///
    /// # Errors
    /// The settings are out of range, or the networks do not belong together.
    pub fn new(networks: &'a VarNetworks, settings: Settings) -> Result<Self> {
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
        super::check_hidden_block(block, self.networks.transformer.config().depth)?;
        Ok(Self {
            hidden_block: block,
            ..self
        })
    }

    /// Starts the candidates `rows` of a class.
    ///
    /// # Errors
    /// There is no such class.
    pub fn start(&self, class: usize, rows: Range<usize>, seed: u64) -> Result<VarRollout<'_>> {
        let transformer = &self.networks.transformer;
        let count = transformer.config().classes;
        if class >= count {
            let message = format!("class {class}, but the transformer has {count} classes");
            return Err(Error::input(message));
        }
        let mut classes: Vec<Class> = vec![transformer.class(Some(class))?];
        if self.branches(0) == 2 {
            classes.push(transformer.class(None)?);
        }
        // A GPU works asynchronously: do not count the time for the class at scale 0.
        transformer.device().synchronize()?;
        Ok(ModelRollout::new(self, classes, rows, seed))
    }
}

impl StepCosts for ClassModel<'_> {
    fn tokens(&self, scale: usize) -> usize {
        let (rows, columns) = self.grids()[scale];
        rows * columns
    }

    fn branches(&self, scale: usize) -> usize {
        self.settings.branches(scale, self.grids().len())
    }

    fn rows_at_once(&self) -> usize {
        self.rows_at_once
    }

    fn text_flops(&self, _: usize) -> f64 {
        self.networks.transformer.config().class_flops()
    }

    fn row_flops(&self, tokens: usize, seen: usize, _: usize) -> f64 {
        self.networks.transformer.config().scale_flops(tokens, seen)
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
        self.hidden_block
            .map_or(0, |_| self.networks.transformer.config().width)
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        let config = self.networks.transformer.config();
        config.activation_bytes(rows, tokens, seen)
    }
}

/// A loaded VAR, set up for a search.
pub struct VarPipeline<'a> {
    model: ClassModel<'a>,
    classes: &'a Classes,
    scales: Vec<Scale>,
    networks: Networks,
}

impl<'a> VarPipeline<'a> {
    /// `networks` are all networks in memory while the pipeline is in use, its own included.
    pub fn new(model: ClassModel<'a>, classes: &'a Classes, networks: Networks) -> Self {
        let scale = |&(height, width): &(usize, usize)| Scale { height, width };
        Self {
            scales: model.grids().iter().map(scale).collect(),
            model,
            classes,
            networks,
        }
    }
}

impl Pipeline for VarPipeline<'_> {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        let (rows, columns) = self.model.latent_size();
        let patch = self.model.patch();
        (rows * patch, columns * patch)
    }

    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let class = self.classes.of_prompt(&prompt.text).ok_or_else(|| {
            let example = self.classes.prompt(0);
            Error::input("this model generates images of classes, not of texts").with_hint(format!(
                "choose one with --class; the prompt of a class is a text such as `{example}`"
            ))
        })?;
        Ok(Box::new(self.model.start(class, rows, seed)?))
    }

    fn branches(&self, scale: usize) -> usize {
        self.model.branches(scale)
    }

    fn estimate(&self, workload: &Workload) -> Estimate {
        costs::estimate(&self.model, self.networks, |_| 0.0, workload)
    }
}
