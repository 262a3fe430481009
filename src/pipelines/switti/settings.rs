//! Settings of sampling and guidance.

use crate::{
    Result,
    options::{Options, PerScale},
    pipelines::{
        codebook::CodebookSettings,
        codes::{Sampling, Smooth, position},
    },
};

/// The temperature of the scales after guidance has been switched off.
const UNGUIDED_TAU: f32 = 0.1;

/// Settings of sampling and guidance.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Guidance: its weight grows from 0 at the first scale to this at the last. If it is 0 at a
    /// scale and all later ones, it is switched off there: the unconditional branch is left out.
    pub cfg: PerScale,
    /// Temperature of the tokens; greater than 0.
    pub tau: PerScale,
    /// Keeps the most likely tokens up to this total probability; 0 keeps all.
    pub top_p: PerScale,
    /// Keeps this many tokens; 0 keeps all.
    pub top_k: usize,
    /// Adds mixtures of all codes instead of drawn ones, from [`Settings::smooth_from`] on, until
    /// guidance is switched off.
    pub more_smooth: bool,
    /// The first scale with mixtures of codes.
    pub smooth_from: usize,
    /// Computes [`ttsvar_search::Rollout::token_statistics`].
    pub token_statistics: bool,
}

impl Default for Settings {
    /// Those of the official commands (README), with guidance at every scale.
    fn default() -> Self {
        Self {
            cfg: PerScale::from(6.0),
            tau: PerScale::from(1.0),
            top_p: PerScale::from(0.95),
            top_k: 400,
            more_smooth: true,
            smooth_from: 2,
            token_statistics: false,
        }
    }
}

impl Settings {
    /// The settings in `options`; unset ones take the released values.
    pub fn from_options(options: &Options) -> Self {
        let options = options.clone().with_preset_values();
        let released = Self::default();
        let cfg = options.cfg.unwrap_or(released.cfg);
        Self {
            tau: options.tau.unwrap_or_else(|| released_tau(&cfg)),
            cfg,
            top_p: options.top_p.unwrap_or(released.top_p),
            top_k: options.top_k.unwrap_or(released.top_k),
            more_smooth: options.more_smooth.unwrap_or(released.more_smooth),
            smooth_from: released.smooth_from,
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

    /// How the tokens of a scale are drawn. Mixtures are of all codes: the original truncates only
    /// what it draws from.
    fn sampling(&self, scale: usize, scales: usize) -> Sampling {
        let guided = self.branches(scale, scales) == 2;
        if self.more_smooth && scale >= self.smooth_from && guided {
            return Sampling {
                top_p: 0.0,
                top_k: 0,
                smooth: Some(Smooth::at(position(scale, scales))),
            };
        }
        Sampling {
            top_p: self.top_p.at(scale),
            top_k: self.top_k,
            smooth: None,
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

/// The temperature that the official commands have with this guidance: 1, and lower from the scale
/// on at which it is switched off, if it ever is.
fn released_tau(cfg: &PerScale) -> PerScale {
    let usual = Settings::default().tau;
    let weights: Vec<f32> = cfg.values().collect();
    let guided = weights.iter().rposition(|weight| *weight != 0.0);
    match guided {
        Some(last) if last + 1 < weights.len() => {
            let mut tau = vec![usual.at(0); last + 1];
            tau.push(UNGUIDED_TAU);
            let written: Vec<String> = tau.iter().map(f32::to_string).collect();
            written.join(",").parse().unwrap_or(usual)
        }
        _ => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cfg: &str) -> Settings {
        Settings::from_options(&Options {
            cfg: Some(cfg.parse().unwrap()),
            ..Options::default()
        })
    }

    #[test]
    fn scales_without_guidance_have_one_branch_and_a_low_temperature() {
        let settings = settings("6,6,6,6,0");
        let of_scales = |f: &dyn Fn(usize) -> f32| (0..7).map(f).collect::<Vec<_>>();
        let branches = of_scales(&|scale| settings.branches(scale, 7) as f32);
        assert_eq!(branches, [2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]);
        let tau = of_scales(&|scale| settings.tau.at(scale));
        assert_eq!(tau, [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1]);
        assert_eq!(settings.guidance(3, 7), 3.0);
        let mixed: Vec<usize> = (0..7)
            .filter(|scale| settings.sampling(*scale, 7).smooth.is_some())
            .collect();
        assert_eq!(mixed, [2, 3], "from scale 2 on, while there is guidance");
        assert_eq!(settings.sampling(4, 7).top_k, 400);
    }

    #[test]
    fn late_guidance_runs_both_branches_from_the_start() {
        let settings = settings("0,0,6");
        assert_eq!(settings.branches(0, 5), 2);
        assert_eq!(settings.guidance(1, 5), 0.0);
        assert_eq!(settings.tau, PerScale::from(1.0));
    }

    #[test]
    fn a_temperature_that_is_given_counts() {
        let given = Settings::from_options(&Options {
            cfg: Some("6,0".parse().unwrap()),
            tau: Some(0.7.into()),
            ..Options::default()
        });
        assert_eq!(given.tau.at(3), 0.7);
        assert_eq!(settings("0").tau, PerScale::from(1.0));
    }
}
