//! Published settings of sampling, by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ttsvar_search::suggestion::suggest;

use super::Options;
use crate::{Error, Result};

/// Settings of sampling under which results of Infinity were published. There is no single
/// official setting.
///
/// All of them apply guidance to the logits. Each variant names the file that sets its values, with
/// the commit at which they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplingPreset {
    /// The TTS-VAR program: guidance 3, temperature 0.5, top-p 0.97, top-k 900.
    ///
    /// ali-vilab/TTS-VAR at b0332bb9: `run.bash` has guidance and temperature, `gen_one_img` in
    /// `tts-var/utils_run.py` the rest. The notebook `tools/interactive_infer.ipynb` of
    /// FoundationVision/Infinity at 4c27bbb5 has the same values.
    TtsVar,
    /// Infinity's evaluation on GenEval, ImageReward and HPSv2.1: guidance 4, temperature 1, top-p
    /// 0.97, top-k 900.
    ///
    /// FoundationVision/Infinity at 4c27bbb5: `scripts/eval.sh` has guidance and temperature,
    /// `gen_one_img` in `tools/run_infinity.py` the rest.
    InfinityEval,
    /// Infinity's script that generates one image: guidance 4, temperature 0.5, top-p 0.97, top-k
    /// 900.
    ///
    /// FoundationVision/Infinity at 4c27bbb5: `scripts/infer.sh` has guidance and temperature,
    /// `gen_one_img` in `tools/run_infinity.py` the rest.
    InfinityDemo,
    /// The search SoTo (arXiv 2604.15453): guidance 3, temperature 1, nothing truncated.
    ///
    /// EPFL-VILAB/search-over-tokens at e7564c55: `soto/configs/components/ar_priors/infinity/infinity.yaml`
    /// has guidance and temperature; `soto/ar_priors/infinity_wrapper.py` draws with top-k 0 and
    /// top-p 0.
    Soto,
}

impl SamplingPreset {
    const ALL: [Self; 4] = [
        Self::TtsVar,
        Self::InfinityEval,
        Self::InfinityDemo,
        Self::Soto,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::TtsVar => "tts-var",
            Self::InfinityEval => "infinity-eval",
            Self::InfinityDemo => "infinity-demo",
            Self::Soto => "soto",
        }
    }

    /// The options that it stands for.
    pub fn options(self) -> Options {
        match self {
            Self::TtsVar => published(3.0, 0.5, 0.97, 900),
            Self::InfinityEval => published(4.0, 1.0, 0.97, 900),
            Self::InfinityDemo => published(4.0, 0.5, 0.97, 900),
            Self::Soto => published(3.0, 1.0, 0.0, 0),
        }
    }
}

fn published(cfg: f32, tau: f32, top_p: f32, top_k: usize) -> Options {
    Options {
        cfg: Some(cfg.into()),
        tau: Some(tau.into()),
        top_p: Some(top_p.into()),
        top_k: Some(top_k),
        ..Options::default()
    }
}

impl fmt::Display for SamplingPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplingPreset {
    type Err = Error;

    fn from_str(written: &str) -> Result<Self> {
        let known = Self::ALL
            .into_iter()
            .find(|preset| preset.name() == written);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let expected = format!("expected one of `{}`", names.join("`, `"));
            let message = format!("unknown sampling preset `{written}`");
            Error::input(message).with_hint(suggest(written, &names, &expected))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for preset in SamplingPreset::ALL {
            let json = serde_json::to_value(preset).unwrap();
            assert_eq!(json, preset.name());
            assert_eq!(preset.name().parse::<SamplingPreset>().unwrap(), preset);
        }
        let error = "infinity-evla".parse::<SamplingPreset>().unwrap_err();
        assert!(
            error
                .hint()
                .unwrap()
                .contains("did you mean `infinity-eval`?")
        );
    }

    #[test]
    fn every_preset_is_in_range_and_sets_the_same_options() {
        for preset in SamplingPreset::ALL {
            let options = preset.options();
            options.check().unwrap();
            let map = options.to_map();
            let names: Vec<&str> = map.keys().map(String::as_str).collect();
            assert_eq!(names, ["cfg", "tau", "top_p", "top_k"]);
        }
    }

    #[test]
    fn options_beside_a_preset_win_over_it_and_it_wins_over_what_it_falls_back_on() {
        let typed = Options {
            sampling: Some(SamplingPreset::Soto),
            tau: Some(0.25.into()),
            ..Options::default()
        };
        let fallback = Options {
            sampling: Some(SamplingPreset::InfinityEval),
            cfg_layer: Some(2),
            ..Options::default()
        };
        let merged = typed.or(&fallback);
        let expected = Options {
            tau: Some(0.25.into()),
            cfg_layer: Some(2),
            ..SamplingPreset::Soto.options()
        };
        assert_eq!(merged, expected);
        let merged = Options {
            top_k: Some(1),
            ..Options::default()
        };
        let expected = Options {
            top_k: Some(1),
            cfg_layer: Some(2),
            ..SamplingPreset::InfinityEval.options()
        };
        assert_eq!(merged.or(&fallback), expected);
    }
}
