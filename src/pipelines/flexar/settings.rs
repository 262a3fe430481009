//! Settings of sampling, guidance and decoding.

use crate::{
    Result,
    options::{Options, PerScale},
    pipelines::codes::Sampling,
};

/// Steps of the released models' decoder (`config.yaml`, `generation.timesteps`).
const DECODER_STEPS: usize = 25;

/// Their guidance (`generation.tokenizer_cfg_factor`).
const DECODER_CFG: f32 = 7.5;

/// Settings of sampling, guidance and decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Guidance: `unconditional + cfg * (conditional - unconditional)`; 1 leaves the unconditional
    /// branch out.
    pub cfg: PerScale,
    /// Temperature of the tokens; greater than 0.
    pub tau: PerScale,
    /// Keeps the most likely tokens up to this total probability; 0 keeps all.
    pub top_p: PerScale,
    /// Keeps this many tokens; 0 keeps all.
    pub top_k: usize,
    /// Steps from noise to an image.
    pub decoder_steps: usize,
    /// The same for images before the last scale.
    pub preview_steps: usize,
    /// Guidance of these steps; 1 is none.
    pub decoder_cfg: f32,
    /// Copies of a candidate differ in the last token of a scale alone, and guidance compares with no
    /// class at the first token of a scale alone, with class 0 at the others, as in the released
    /// program.
    pub as_released: bool,
    /// Images are generated from classes.
    pub classes: bool,
    /// Computes [`ttsvar_search::Rollout::token_statistics`].
    pub token_statistics: bool,
}

impl Settings {
    /// The settings in `options`; unset ones take the released values of models of texts, or of
    /// classes.
    pub fn from_options(options: &Options, classes: bool) -> Self {
        let options = options.clone().with_preset_values();
        let decoder_steps = options.decoder_steps.unwrap_or(DECODER_STEPS);
        Self {
            cfg: options.cfg.unwrap_or_else(|| released_cfg(classes)),
            tau: options.tau.unwrap_or_else(|| PerScale::from(1.0)),
            top_p: options.top_p.unwrap_or_else(|| PerScale::from(0.0)),
            top_k: options.top_k.unwrap_or(0),
            decoder_steps,
            preview_steps: options.preview_steps.unwrap_or(decoder_steps),
            decoder_cfg: options.decoder_cfg.unwrap_or(DECODER_CFG),
            as_released: options.as_released.unwrap_or(false),
            classes,
            token_statistics: options.token_statistics.unwrap_or(false),
        }
    }

    /// The options that record these settings.
    pub(super) fn to_options(&self) -> Options {
        Options {
            cfg: Some(self.cfg.clone()),
            tau: Some(self.tau.clone()),
            top_p: Some(self.top_p.clone()),
            top_k: Some(self.top_k),
            decoder_steps: Some(self.decoder_steps),
            decoder_cfg: Some(self.decoder_cfg),
            ..Options::default()
        }
    }

    /// Checks that all settings are in range and have at most one value for each of `scales` scales.
    ///
    /// # Errors
    /// A number is out of range, or a list is too long.
    pub(super) fn check(&self, scales: usize) -> Result<()> {
        let options = Options {
            preview_steps: Some(self.preview_steps),
            ..self.to_options()
        };
        options.check_ranges()?;
        options.check_lengths(scales)
    }

    /// The number of guidance branches at a scale: conditional, and unconditional unless there is
    /// no guidance there and at all later scales, which see its keys and values. The released program
    /// has two kinds of unconditional branches for classes.
    pub(super) fn branches(&self, scale: usize, scales: usize) -> usize {
        let guided = (scale..scales).any(|scale| self.cfg.at(scale) != 1.0);
        match guided {
            true if self.as_released && self.classes => 3,
            true => 2,
            false => 1,
        }
    }

    /// How the tokens of a scale are drawn.
    pub(super) fn sampling(&self, scale: usize) -> Sampling {
        Sampling {
            top_p: self.top_p.at(scale),
            top_k: self.top_k,
            smooth: None,
        }
    }

    /// Passes of the decoder's network for each step.
    pub(super) fn decoder_branches(&self) -> usize {
        if self.decoder_cfg == 1.0 { 1 } else { 2 }
    }
}

/// The guidance of the released models.
fn released_cfg(classes: bool) -> PerScale {
    PerScale::from(if classes { 1.5 } else { 3.0 })
}
