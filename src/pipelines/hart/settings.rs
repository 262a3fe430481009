//! Settings of sampling and guidance.

use crate::{
    Result,
    options::{Options, PerScale},
    pipelines::{
        codebook::CodebookSettings,
        codes::{Sampling, Smooth},
    },
};

/// Codes that are kept of the scales before [`FEWER_FROM`], and from there on.
const KEPT: [usize; 2] = [600, 300];
const FEWER_FROM: usize = 7;

/// Settings of sampling and guidance.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Guidance: its weight is this times [`position`]; 0 at a scale and all later ones leaves out
    /// the unconditional branch there.
    pub cfg: PerScale,
    /// Temperature of the tokens; greater than 0.
    pub tau: PerScale,
    /// Keeps the most likely tokens up to this total probability; 0 keeps all.
    pub top_p: PerScale,
    /// Keeps this many tokens; 0 keeps all. Without it, those that the original keeps: 600, and 300
    /// from scale 7 on.
    pub top_k: Option<usize>,
    /// Adds mixtures of codes instead of drawn ones.
    pub more_smooth: bool,
    /// Computes [`ttsvar_search::Rollout::token_statistics`].
    pub token_statistics: bool,
}

impl Default for Settings {
    /// Those of the official commands (`sample.py`): cfg 4.5, `more_smooth`.
    fn default() -> Self {
        Self {
            cfg: PerScale::from(4.5),
            tau: PerScale::from(1.0),
            top_p: PerScale::from(0.0),
            top_k: None,
            more_smooth: true,
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
            top_k: options.top_k,
            more_smooth: options.more_smooth.unwrap_or(released.more_smooth),
            token_statistics: options
                .token_statistics
                .unwrap_or(released.token_statistics),
        }
    }
}

impl CodebookSettings for Settings {
    fn guidance(&self, scale: usize, scales: usize) -> f64 {
        f64::from(self.cfg.at(scale)) * position(scale, scales)
    }

    fn sampling(&self, scale: usize, scales: usize) -> Sampling {
        Sampling {
            top_p: self.top_p.at(scale),
            top_k: self.top_k.unwrap_or(released_top_k(scale)),
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
            top_k: self.top_k,
            ..Options::default()
        };
        options.check_ranges()?;
        options.check_lengths(scales)
    }
}

/// The position of a scale, from 0 at the first to 1, as the original computes it: the last scale
/// has that of the one before it, so that no scale has 1.
pub fn position(scale: usize, scales: usize) -> f64 {
    let counted = scale.min(scales.saturating_sub(2));
    match scales {
        0 | 1 => 0.0,
        _ => counted as f64 / (scales - 1) as f64,
    }
}

/// The number of codes that the original keeps at a scale.
pub fn released_top_k(scale: usize) -> usize {
    match scale {
        0..FEWER_FROM => KEPT[0],
        _ => KEPT[1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_scale_has_the_position_of_the_one_before() {
        let found: Vec<f64> = (0..5).map(|scale| position(scale, 5)).collect();
        assert_eq!(found, [0.0, 0.25, 0.5, 0.75, 0.75]);
        assert_eq!(position(0, 1), 0.0);
        let settings = Settings::default();
        assert_eq!(settings.guidance(4, 5), 4.5 * 0.75);
        assert_eq!(settings.branches(0, 5), 2);
    }

    #[test]
    fn fewer_codes_are_kept_from_scale_7_on() {
        let settings = Settings::default();
        assert_eq!(settings.sampling(6, 14).top_k, 600);
        assert_eq!(settings.sampling(7, 14).top_k, 300);
        let own = Settings {
            top_k: Some(5),
            ..settings
        };
        assert_eq!(own.sampling(7, 14).top_k, 5);
    }
}
