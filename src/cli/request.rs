//! What the arguments of `generate` mean. Everything that can be checked without the model is checked here.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
};

use serde_json::{Map, Value};

use super::{
    arguments::{Canvas, Drawing, Generate},
    numbers,
    outputs::Outputs,
    prompts::Prompts,
    repeat,
    wish::{self, Named, Source, Wish},
};
use crate::{
    Error, Result,
    bundle::{DEMO, Settings},
    hub::description::Defaults,
    models::infinity::Pixels,
    pipelines::{Size, infinity},
};

/// A job for `generate`.
#[derive(Debug)]
pub(super) struct Request {
    pub prompts: Prompts,
    pub negative: Option<String>,
    pub model: String,
    pub weights: Option<PathBuf>,
    pub seed: u64,
    pub wish: Wish,
    pub preview: Size,
    pub outputs: Outputs,
    look: Look,
    /// The version of the program that painted the image to be repeated.
    pub painted_by: Option<String>,
}

/// How images are to look, where that was said.
#[derive(Debug)]
pub(super) struct Look {
    drawing: Drawing,
    aspect: Option<(String, f64)>,
    pixels: Option<Pixels>,
}

impl Request {
    /// # Errors
    /// Whatever cannot be done as asked.
    pub(super) fn read(typed: &Generate) -> Result<Self> {
        let mut typed = typed.clone();
        let record = typed.from.as_deref().map(repeat::record).transpose()?;
        let painted_by = record.as_ref().map(|record| record.version.clone());
        let source = match record {
            Some(record) => repeat::fill(&mut typed, record)?,
            None => match &typed.method.plan {
                Some(path) => Source::Plan(wish::plan_file(path)?, Named::default()),
                None => Source::Method(Named::read(&typed.method)?),
            },
        };
        let wish = Wish::read(source, &typed.choices)?;
        let look = Look::read(&typed.canvas, typed.drawing)?;
        look.settings(&Defaults::default()).drawing.check()?;
        let prompts = Prompts::read(typed.prompt.as_deref(), typed.prompts.as_deref())?;
        let outputs = Outputs::read(&typed.outputs, prompts.list)?;
        Ok(Self {
            prompts,
            negative: typed.negative.filter(|negative| !negative.trim().is_empty()),
            model: typed.model.model.unwrap_or_else(|| DEMO.to_owned()),
            weights: typed.model.weights,
            seed: look.drawing.seed.unwrap_or_else(new_seed),
            wish,
            preview: preview(typed.choices.preview.as_deref())?,
            outputs,
            look,
            painted_by,
        })
    }

    /// The settings with which a bundle of these defaults paints.
    pub(super) fn settings(&self, defaults: &Defaults) -> Settings {
        self.look.settings(defaults)
    }

    /// The settings as they are recorded, so that [`repeat`] finds them.
    pub(super) fn recorded(&self, settings: &Settings, named: Named) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |name: &str, value: Option<Value>| map.extend(value.map(|value| (name.to_owned(), value)));
        put("model", Some(self.model.clone().into()));
        put("method", named.method.map(|method| method.to_string().into()));
        put("n", named.n.map(Value::from));
        put("schedule", named.schedule.map(|schedule| schedule.to_string().into()));
        map.extend(self.look.recorded(settings));
        map
    }
}

impl Look {
    pub(super) fn read(canvas: &Canvas, drawing: Drawing) -> Result<Self> {
        let ratio = canvas.aspect.as_deref().map(aspect).transpose()?;
        let aspect = canvas.aspect.clone().zip(ratio);
        let pixels = canvas.pixels.as_deref().map(str::parse).transpose()?;
        Ok(Self { drawing, aspect, pixels })
    }

    /// The settings as they are recorded.
    pub(super) fn recorded(&self, settings: &Settings) -> Map<String, Value> {
        let drawing = settings.drawing;
        let mut map = Map::new();
        let mut put = |name: &str, value: Option<Value>| map.extend(value.map(|value| (name.to_owned(), value)));
        put("cfg", Some(numbers::json(drawing.cfg)));
        put("cfg_layer", drawing.cfg_layer.map(Value::from));
        put("tau", Some(numbers::json(drawing.tau)));
        put("top_p", Some(numbers::json(drawing.top_p)));
        put("top_k", Some(drawing.top_k.into()));
        put("aspect", self.aspect.as_ref().map(|(typed, _)| typed.clone().into()));
        put("pixels", self.pixels.map(|pixels| pixels.to_string().into()));
        map
    }

    /// What was said, then what the bundle says, then what the models were released with.
    pub(super) fn settings(&self, defaults: &Defaults) -> Settings {
        let Drawing { cfg, cfg_layer, tau, top_p, top_k, .. } = self.drawing;
        let usual = Settings::of(defaults);
        let drawing = infinity::Settings {
            cfg: cfg.unwrap_or(usual.drawing.cfg),
            cfg_layer,
            tau: tau.unwrap_or(usual.drawing.tau),
            top_p: top_p.unwrap_or(usual.drawing.top_p),
            top_k: top_k.unwrap_or(usual.drawing.top_k),
        };
        let aspect = self.aspect.as_ref().map(|(_, aspect)| *aspect);
        Settings { drawing, aspect, pixels: self.pixels, ..usual }
    }
}

/// Height divided by width of `W:H`.
fn aspect(typed: &str) -> Result<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|side| side.is_finite() && *side > 0.0);
    let sides = typed.split_once(':').and_then(|(width, height)| Some((number(width)?, number(height)?)));
    let Some((width, height)) = sides else {
        return Err(Error::input(format!("`{typed}` is no aspect")).with_hint("give width to height, such as 16:9"));
    };
    const ROUNDING: f64 = 1e-9; // 1:3 and 3:1 themselves are fine
    if !(1.0 / 3.0 - ROUNDING..=3.0 + ROUNDING).contains(&(height / width)) {
        return Err(Error::input(format!("an aspect of {typed} is out of range"))
            .with_hint("the models paint from 1:3 (tall) to 3:1 (wide)"));
    }
    Ok(height / width)
}

/// The size at which images are judged.
pub(super) fn preview(typed: Option<&str>) -> Result<Size> {
    match typed.map(|typed| (typed, typed.parse::<usize>())) {
        None | Some(("full", _)) => Ok(Size::Full),
        Some((_, Ok(pixels))) if pixels > 0 => Ok(Size::Preview(pixels)),
        Some((typed, _)) => Err(Error::input(format!("`{typed}` is no size for previews"))
            .with_hint("give `full`, or the pixels along the shorter side, such as 256")),
    }
}

/// A seed that nobody has seen before, short enough to type.
fn new_seed() -> u64 {
    // The hasher's keys come from the system's random numbers.
    RandomState::new().build_hasher().finish() & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aspects_are_width_to_height() {
        assert_eq!(aspect("2:1").unwrap(), 0.5);
        assert_eq!(aspect("1:3").unwrap(), 3.0);
        assert!(aspect("3:1").is_ok() && aspect("10.5:10").is_ok());
        for wrong in ["3.1:1", "1:3.1", "1", "1:0", "-1:1", "nan:1", "inf:1", ":", "a:b", "1:1:1"] {
            assert!(aspect(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn previews_are_full_or_some_pixels() {
        assert_eq!(preview(None).unwrap(), Size::Full);
        assert_eq!(preview(Some("256")).unwrap(), Size::Preview(256));
        assert!(preview(Some("0")).is_err() && preview(Some("small")).is_err());
    }
}
