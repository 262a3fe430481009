//! What the arguments of `generate` mean. Everything that can be checked without the model is
//! checked here.

use std::path::PathBuf;

use serde_json::{Map, Value};
use ttsvar_search::{self as search, DecodeSize};

use super::{
    arguments::{Canvas, Choices, Drawing, Generate, Method, USUAL_DTYPE},
    outputs::Outputs,
    prompts::Prompts,
    repeat, system,
};
use crate::{
    Result,
    bundle::{DEMO, ScorerMix, Settings, System},
    hub::description::Defaults,
    report::Provenance,
    request::{Look, Named, Source, Wish, new_seed, plan_file, preview, recorded},
};

/// A job for `generate`.
#[derive(Debug)]
pub(super) struct Request {
    pub prompts: Prompts,
    pub negative: Option<String>,
    pub model: String,
    pub weights: Option<PathBuf>,
    pub judging: Option<ScorerMix>,
    pub seed: u64,
    pub wish: Wish,
    pub preview: DecodeSize,
    pub outputs: Outputs,
    look: Look,
    /// The version of the program that painted the image to be repeated.
    pub painted_by: Option<String>,
    /// What the matrices were kept in then.
    pub painted_in: Option<String>,
}

impl Request {
    /// # Errors
    /// Whatever cannot be done as asked.
    pub(super) fn read(typed: &Generate) -> Result<Self> {
        let mut typed = typed.clone();
        let record = typed.from.as_deref().map(repeat::repeatable).transpose()?;
        let painted_by = record.as_ref().map(|record| record.version.clone());
        let dtype = |record: &Provenance| {
            record
                .settings
                .get("dtype")
                .and_then(Value::as_str)
                .unwrap_or(USUAL_DTYPE)
                .to_owned()
        };
        let painted_in = record.as_ref().map(dtype);
        let source = match &record {
            Some(record) => repeat::fill(&mut typed, record)?,
            None => source(&typed.method)?,
        };
        let wish = wish(source, &typed.choices)?;
        let look = look(&typed.canvas, typed.drawing)?;
        let prompts = match (&record, typed.prompt.as_deref(), typed.prompts.as_deref()) {
            (Some(record), None, None) => Prompts::literal(&record.prompt)?,
            (_, prompt, file) => Prompts::read(prompt, file)?,
        };
        let outputs = Outputs::read(&typed.outputs, prompts.list)?;
        Ok(Self {
            prompts,
            judging: system::judging(&typed.model)?,
            negative: typed
                .negative
                .filter(|negative| !negative.trim().is_empty()),
            model: typed.model.model.unwrap_or_else(|| DEMO.to_owned()),
            weights: typed.model.weights,
            seed: typed.drawing.seed.unwrap_or_else(new_seed),
            wish,
            preview: preview(typed.choices.preview.as_deref())?,
            outputs,
            look,
            painted_by,
            painted_in,
        })
    }

    /// The settings with which a bundle of these defaults paints.
    pub(super) fn settings(&self, defaults: &Defaults) -> Settings {
        self.look.settings(defaults)
    }

    /// The settings as they are recorded, so that [`repeat`] finds them.
    pub(super) fn recorded(
        &self,
        system: &System,
        settings: &Settings,
        named: Named,
    ) -> Map<String, Value> {
        recorded(system, &self.model, named, &self.look, settings)
    }
}

/// What was typed of a plan.
///
/// # Errors
/// A name is not known, or no model could follow such a plan.
pub(super) fn wish(source: Source, choices: &Choices) -> Result<Wish> {
    let choices = search::StageOptions {
        features: choices.features.as_deref().map(str::parse).transpose()?,
        potential: choices.potential.as_deref().map(str::parse).transpose()?,
        lambda: choices.lambda,
        draw: choices.draw.as_deref().map(str::parse).transpose()?,
    };
    let wish = Wish { source, choices };
    wish.check()?;
    Ok(wish)
}

/// The plan file that was typed, or else the method.
///
/// # Errors
/// The file cannot be read or is none, or a name is not known.
pub(super) fn source(typed: &Method) -> Result<Source> {
    match &typed.plan {
        Some(path) => Ok(Source::Plan(plan_file(path)?, Named::default())),
        None => Ok(Source::Method(named(typed)?)),
    }
}

/// What was typed of a method.
///
/// # Errors
/// A name is not known.
pub(super) fn named(typed: &Method) -> Result<Named> {
    let method = typed.method.as_deref().map(str::parse).transpose()?;
    let schedule = typed.schedule.as_deref().map(str::parse).transpose()?;
    Ok(Named {
        method,
        n: typed.n,
        schedule,
    })
}

/// What was typed of the images.
///
/// # Errors
/// No model paints so.
pub(super) fn look(canvas: &Canvas, drawing: Drawing) -> Result<Look> {
    let Drawing {
        cfg,
        cfg_layer,
        tau,
        top_p,
        top_k,
        seed: _,
    } = drawing;
    let aspect = canvas.aspect.as_deref().map(str::parse).transpose()?;
    let pixels = canvas.pixels.as_deref().map(str::parse).transpose()?;
    let look = Look {
        cfg,
        cfg_layer,
        tau,
        top_p,
        top_k,
        aspect,
        pixels,
    };
    look.check()?;
    Ok(look)
}
