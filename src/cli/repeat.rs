//! `--from`: what an image says about its origin fills whatever was not typed.

use std::path::Path;

use serde_json::Value;
use ttsvar_search::{Plan, Select};

use super::{
    arguments::{Choices, Generate},
    request::named,
};
use crate::{
    Error, Result,
    image::Png,
    report::Provenance,
    request::{Named, Source, plan_file},
};

/// The record of an image.
///
/// # Errors
/// The picture does not say where it comes from.
pub(super) fn record(path: &Path, png: &Png) -> Result<Provenance> {
    let found = Provenance::read(png).map_err(|error| {
        let hint = error.hint().unwrap_or_default().to_owned();
        Error::file(path, error.to_string()).with_hint(hint)
    })?;
    found.ok_or_else(|| {
        Error::file(path, "this picture does not say how it was painted").with_hint(
            "only PNG files that `ttsvar generate` wrote and no other program changed do",
        )
    })
}

/// The record of an image that this program can paint again.
///
/// # Errors
/// The file cannot be read, is not of this program, or code chose that this program does not have.
pub(super) fn repeatable(path: &Path) -> Result<Provenance> {
    let record = record(path, &Png::open(path)?)?;
    check(path, &record)?;
    Ok(record)
}

/// Names of the settings under which a caller's own judges are recorded.
const OWN_JUDGES: [&str; 2] = ["scorer", "extractor"];

/// Whether this program can choose as the record says.
///
/// # Errors
/// Code chose that this program does not have.
fn check(path: &Path, record: &Provenance) -> Result<()> {
    let own = OWN_JUDGES
        .into_iter()
        .find_map(|name| Some((name, record.settings.get(name)?.as_str()?)));
    own.map_or(Ok(()), |(name, code)| {
        Err(
            Error::file(path, format!("was chosen by a {name} of its own, `{code}`"))
                .with_hint("repeat it with the program that brought it"),
        )
    })
}

/// Fills what was not typed, and says where the plan comes from.
///
/// # Errors
/// A name in the record or on the command line is not known.
pub(super) fn fill(typed: &mut Generate, record: &Provenance) -> Result<Source> {
    let text = |name: &str| {
        record
            .settings
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let number = |name: &str| record.settings.get(name).and_then(Value::as_f64);
    let whole = |name: &str| {
        record
            .settings
            .get(name)
            .and_then(Value::as_u64)
            .map(|value| value as usize)
    };
    fill_one(&mut typed.negative, record.negative.clone());
    fill_one(&mut typed.model.model, Some(record.model.clone()));
    fill_one(&mut typed.model.scorer, text("scorers"));
    fill_one(&mut typed.canvas.aspect, text("aspect"));
    fill_one(&mut typed.canvas.pixels, text("pixels"));
    let preview = record
        .preview
        .map_or_else(|| "full".to_owned(), |pixels| pixels.to_string());
    fill_one(&mut typed.choices.preview, Some(preview));
    let drawing = &mut typed.drawing;
    fill_one(&mut drawing.seed, Some(record.seed));
    fill_one(&mut drawing.cfg, number("cfg").map(|value| value as f32));
    fill_one(&mut drawing.cfg_layer, whole("cfg_layer"));
    fill_one(&mut drawing.tau, number("tau").map(|value| value as f32));
    fill_one(
        &mut drawing.top_p,
        number("top_p").map(|value| value as f32),
    );
    fill_one(&mut drawing.top_k, whole("top_k"));
    let mut before = super::arguments::Method {
        method: text("method"),
        n: whole("n"),
        plan: None,
        schedule: text("schedule"),
    };
    let method = &mut typed.method;
    if let Some(path) = &method.plan {
        return Ok(Source::Plan(plan_file(path)?, Named::default()));
    }
    if method.method.is_none() && method.n.is_none() && method.schedule.is_none() {
        return Ok(Source::Plan(record.plan.clone(), named(&before)?));
    }
    if method.method.is_some() && method.method != before.method {
        (before.n, before.schedule) = (None, None);
    }
    fill_one(&mut method.method, before.method);
    fill_one(&mut method.n, before.n);
    fill_one(&mut method.schedule, before.schedule);
    choices_of(&record.plan, &mut typed.choices);
    Ok(Source::Method(named(method)?))
}

fn fill_one<T>(typed: &mut Option<T>, before: Option<T>) {
    if typed.is_none() {
        *typed = before;
    }
}

/// The choices that a plan makes, so that another plan can make the same.
fn choices_of(plan: &Plan, open: &mut Choices) {
    for stage in plan.stages() {
        match stage.select {
            Select::Cluster { features } => {
                open.features.get_or_insert(features.to_string());
            }
            Select::Resample {
                potential,
                lambda,
                draw,
            } => {
                open.potential.get_or_insert(potential.to_string());
                open.lambda.get_or_insert(lambda);
                open.draw.get_or_insert(draw.to_string());
            }
            Select::Top { .. } | Select::Drop => {}
        }
    }
}
