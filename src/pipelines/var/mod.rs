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

use ttsvar_search::{Estimate, Pipeline, Prompt, Rollout, Scale, Workload};

use crate::{
    Error, Result,
    models::var::{Class, Var},
    options::{Options, PerScale},
    pipelines::{
        codebook::{CodebookModel, CodebookNetworks, CodebookSettings},
        codes::{Sampling, Smooth, position},
        costs::{self, Networks, StepCosts},
        rollout::{ModelRollout, ScaleModel},
        scales_of,
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
}

impl CodebookSettings for Settings {
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

    fn tau(&self, scale: usize) -> f32 {
        self.tau.at(scale)
    }

    fn wants_statistics(&self) -> bool {
        self.token_statistics
    }

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
pub type VarNetworks = CodebookNetworks<Var>;

/// Generates images of classes.
pub type ClassModel<'a> = CodebookModel<'a, Var>;

impl ClassModel<'_> {
    /// Starts the candidates `rows` of a class.
    ///
    /// # Errors
    /// There is no such class.
    pub fn start(&self, class: usize, rows: Range<usize>, seed: u64) -> Result<VarRollout<'_>> {
        let networks = self.networks.get()?;
        let transformer = &networks.transformer;
        let count = transformer.config().classes;
        if class >= count {
            let message = format!("class {class}, but the transformer has {count} classes");
            return Err(Error::input(message));
        }
        let mut classes: Vec<Class> = vec![transformer.class(Some(class))?];
        if self.uses_guidance() {
            classes.push(transformer.class(None)?);
        }
        // A GPU works asynchronously: do not count the time for the class at scale 0.
        transformer.device().synchronize()?;
        Ok(ModelRollout::new(self, classes, rows, seed))
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
        Self {
            scales: scales_of(model.grids()),
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
            Error::input("this model takes a class, not a prompt").with_hint(format!(
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
