//! How images are to look, where that was said; the model's defaults say the rest.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};
use ttsvar_search::{DecodeSize, number};

use crate::{
    Error, Result, bundle::Settings, hub::description::Defaults, models::infinity::Pixels,
    pipelines::infinity,
};

/// What was said of guidance, sampling and size; see [`infinity::Settings`] for the numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Strength of the guidance.
    pub cfg: Option<f32>,
    /// Guide on the output of the n-th block from the end.
    pub cfg_layer: Option<usize>,
    /// Temperature.
    pub tau: Option<f32>,
    /// Share of the likeliest values that is kept.
    pub top_p: Option<f32>,
    /// Number of the likeliest values that is kept.
    pub top_k: Option<usize>,
    /// Width to height.
    pub aspect: Option<Aspect>,
    /// Size.
    pub pixels: Option<Pixels>,
}

/// Width to height, as it was written: `16:9`. From 1:3 to 3:1.
#[derive(Clone, Debug, PartialEq)]
pub struct Aspect {
    written: String,
    ratio: f64,
}

impl Look {
    /// Whether any model could paint so.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn check(&self) -> Result<()> {
        self.settings(&Defaults::default()).drawing.check()
    }

    /// What was said, then what the bundle says, then what the models were released with.
    pub fn settings(&self, defaults: &Defaults) -> Settings {
        let usual = Settings::of(defaults);
        let drawing = infinity::Settings {
            cfg: self.cfg.unwrap_or(usual.drawing.cfg),
            cfg_layer: self.cfg_layer,
            tau: self.tau.unwrap_or(usual.drawing.tau),
            top_p: self.top_p.unwrap_or(usual.drawing.top_p),
            top_k: self.top_k.unwrap_or(usual.drawing.top_k),
        };
        let aspect = self.aspect.as_ref().map(Aspect::ratio);
        Settings {
            drawing,
            aspect,
            pixels: self.pixels,
            ..usual
        }
    }

    /// The settings that a model was given, as traces and pictures record them: names of the
    /// command line and their values.
    pub fn recorded(&self, settings: &Settings) -> Map<String, Value> {
        let drawing = settings.drawing;
        let all = [
            ("cfg", Some(number::to_json(drawing.cfg))),
            ("cfg_layer", drawing.cfg_layer.map(Value::from)),
            ("tau", Some(number::to_json(drawing.tau))),
            ("top_p", Some(number::to_json(drawing.top_p))),
            ("top_k", Some(drawing.top_k.into())),
            (
                "aspect",
                self.aspect.as_ref().map(|aspect| aspect.to_string().into()),
            ),
            (
                "pixels",
                self.pixels.map(|pixels| pixels.to_string().into()),
            ),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

impl Aspect {
    /// The aspect of a picture of so many pixels; none where it is out of range.
    pub fn of(width: usize, height: usize) -> Option<Self> {
        format!("{width}:{height}").parse().ok()
    }

    /// Height divided by width.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }
}

impl FromStr for Aspect {
    type Err = Error;

    fn from_str(written: &str) -> Result<Self> {
        let side = |text: &str| {
            text.trim()
                .parse::<f64>()
                .ok()
                .filter(|side| side.is_finite() && *side > 0.0)
        };
        let sides = written
            .split_once(':')
            .and_then(|(width, height)| Some((side(width)?, side(height)?)));
        let Some((width, height)) = sides else {
            return Err(Error::input(format!("`{written}` is no aspect"))
                .with_hint("give width to height, such as 16:9"));
        };
        const ROUNDING: f64 = 1e-9; // 1:3 and 3:1 themselves are fine
        let ratio = height / width;
        if !(1.0 / 3.0 - ROUNDING..=3.0 + ROUNDING).contains(&ratio) {
            return Err(
                Error::input(format!("an aspect of {written} is out of range"))
                    .with_hint("the models paint from 1:3 (tall) to 3:1 (wide)"),
            );
        }
        Ok(Self {
            written: written.to_owned(),
            ratio,
        })
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// The size at which images are judged before the last scale: `full`, or pixels along the shorter
/// side.
///
/// # Errors
/// It is neither.
pub fn preview(written: Option<&str>) -> Result<DecodeSize> {
    match written.map(|written| (written, written.parse::<usize>())) {
        None | Some(("full", _)) => Ok(DecodeSize::Full),
        Some((_, Ok(pixels))) if pixels > 0 => Ok(DecodeSize::Preview(pixels)),
        Some((written, _)) => Err(Error::input(format!("`{written}` is no size for previews"))
            .with_hint("give `full`, or the pixels along the shorter side, such as 256")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aspects_are_width_to_height() {
        let ratio = |written: &str| written.parse::<Aspect>().map(|aspect| aspect.ratio());
        assert_eq!(ratio("2:1").unwrap(), 0.5);
        assert_eq!(ratio("1:3").unwrap(), 3.0);
        assert!(ratio("3:1").is_ok() && ratio("10.5:10").is_ok());
        for wrong in [
            "3.1:1", "1:3.1", "1", "1:0", "-1:1", "nan:1", "inf:1", ":", "a:b", "1:1:1",
        ] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn previews_are_full_or_some_pixels() {
        assert_eq!(preview(None).unwrap(), DecodeSize::Full);
        assert_eq!(preview(Some("256")).unwrap(), DecodeSize::Preview(256));
        assert!(preview(Some("0")).is_err() && preview(Some("small")).is_err());
    }
}
