//! `ttsvar bench preview`: how much time smaller previews save, and whether they rank candidates as
//! full-size ones do.

use serde_json::{Value, json};
use ttsvar_search::Prompt;

use super::{
    arguments::{Global, Preview},
    console::Console,
    progress::bar,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    bench::{Agreement, agreement},
    eval::scenes::{Split, prompts},
    options::Options,
    request::Session,
};

pub(super) fn run(typed: &Preview, global: &Global, console: &Console) -> Result<()> {
    if typed.rows < 2 {
        return Err(Error::input(format!(
            "--rows is {}, but ranks need at least 2 rows",
            typed.rows
        ))
        .with_hint("the default is 8"));
    }
    let system = console.open(&global.system(&typed.system))?;
    let session = Session::new(&system, &Options::default())?;
    let pipeline = session.pipeline();
    let (height, width) = pipeline.image_size();
    let full = height.min(width);
    let sizes = if typed.sizes.is_empty() {
        [1, 2, 3].map(|i| full * i / 4).to_vec()
    } else {
        typed.sizes.clone()
    };
    if let Some(size) = sizes.iter().find(|size| **size == 0 || **size > full) {
        return Err(Error::input(format!(
            "expected previews of 1 to {full} pixels, found {size}"
        ))
        .with_hint("change --sizes"));
    }
    let prompts: Vec<Prompt> = prompts(Split::Tuning, typed.prompts, typed.seed)
        .iter()
        .map(|prompt| Prompt::from(prompt.text().as_str()))
        .collect();
    let search = session.search();
    let bar = bar(console, prompts.len(), "prompts measured");
    let found = agreement(&search, &prompts, typed.rows, &sizes, typed.seed, || {
        bar.inc(1)
    })?;
    bar.finish_and_clear();
    console.result(&if console.json {
        json(&found, typed, full).to_string()
    } else {
        text(&found, typed, full)
    })
}

fn text(found: &[Agreement], typed: &Preview, full: usize) -> String {
    use Align::Right;
    let heads = [
        ("after scale", Right),
        ("pixels", Right),
        ("ranks", Right),
        ("same best", Right),
        ("time", Right),
    ];
    let mut table = Table::new(heads);
    for Agreement {
        scale,
        pixels,
        ranks,
        same_best,
        cost,
    } in found
    {
        let ranks = ranks.map_or("-".to_owned(), |ranks| format!("{ranks:.2}"));
        table.row([
            scale.to_string(),
            pixels.to_string(),
            ranks,
            format!("{same_best:.2}"),
            format!("{cost:.2}"),
        ]);
    }
    format!(
        "{table}\n\npreviews compared with images of {full} pixels: rank correlation, \
         share of prompts with the same best of {} candidates, time to decode and score; \
         {} prompts",
        typed.rows, typed.prompts
    )
}

fn json(found: &[Agreement], typed: &Preview, full: usize) -> Value {
    let preview = |preview: &Agreement| {
        json!({
            "scale": preview.scale,
            "pixels": preview.pixels,
            "ranks": preview.ranks,
            "same_best": preview.same_best,
            "time": preview.cost,
        })
    };
    json!({
        "full": full,
        "rows": typed.rows,
        "prompts": typed.prompts,
        "seed": typed.seed,
        "previews": found.iter().map(preview).collect::<Vec<_>>(),
    })
}
