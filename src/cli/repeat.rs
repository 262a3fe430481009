//! `--from`: what an image says about its origin fills whatever was not typed.

use std::path::Path;

use serde_json::Value;

use super::{
    arguments::Generate,
    wish::{self, Named, Source},
};
use crate::{Error, Result, image::Png, report::Record};

/// The record of an image.
///
/// # Errors
/// The file cannot be read, or is not of this program.
pub(super) fn record(path: &Path) -> Result<Record> {
    let found = Record::read(&Png::open(path)?).map_err(|error| {
        let hint = error.hint().unwrap_or_default().to_owned();
        Error::file(path, error.to_string()).with_hint(hint)
    })?;
    found.ok_or_else(|| {
        Error::file(path, "this picture does not say how it was painted")
            .with_hint("only PNG files that `ttsvar generate` wrote and no other program changed do")
    })
}

/// Fills what was not typed, and says where the plan comes from.
///
/// # Errors
/// A name in the record or on the command line is not known.
pub(super) fn fill(typed: &mut Generate, record: Record) -> Result<Source> {
    let text = |name: &str| record.settings.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| record.settings.get(name).and_then(Value::as_f64);
    let whole = |name: &str| record.settings.get(name).and_then(Value::as_u64).map(|value| value as usize);
    if typed.prompt.is_none() && typed.prompts.is_none() {
        typed.prompt = Some(record.prompt.clone());
    }
    fill_one(&mut typed.negative, record.negative.clone());
    fill_one(&mut typed.model.model, Some(record.model.clone()));
    fill_one(&mut typed.canvas.aspect, text("aspect"));
    fill_one(&mut typed.canvas.pixels, text("pixels"));
    let preview = record.preview.map_or_else(|| "full".to_owned(), |pixels| pixels.to_string());
    fill_one(&mut typed.choices.preview, Some(preview));
    let drawing = &mut typed.drawing;
    fill_one(&mut drawing.seed, Some(record.seed));
    fill_one(&mut drawing.cfg, number("cfg").map(|value| value as f32));
    fill_one(&mut drawing.cfg_layer, whole("cfg_layer"));
    fill_one(&mut drawing.tau, number("tau").map(|value| value as f32));
    fill_one(&mut drawing.top_p, number("top_p").map(|value| value as f32));
    fill_one(&mut drawing.top_k, whole("top_k"));
    let mut before =
        super::arguments::Method { method: text("method"), n: whole("n"), plan: None, schedule: text("schedule") };
    let method = &mut typed.method;
    if let Some(path) = &method.plan {
        return Ok(Source::Plan(wish::plan_file(path)?, Named::default()));
    }
    if method.method.is_none() && method.n.is_none() && method.schedule.is_none() {
        return Ok(Source::Plan(record.plan.clone(), Named::read(&before)?));
    }
    if method.method.is_some() && method.method != before.method {
        (before.n, before.schedule) = (None, None);
    }
    fill_one(&mut method.method, before.method);
    fill_one(&mut method.n, before.n);
    fill_one(&mut method.schedule, before.schedule);
    wish::choices_of(&record.plan, &mut typed.choices);
    Ok(Source::Method(Named::read(method)?))
}

fn fill_one<T>(typed: &mut Option<T>, before: Option<T>) {
    if typed.is_none() {
        *typed = before;
    }
}
