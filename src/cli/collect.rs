//! `ttsvar collect`: training pairs for a latent verifier.

use std::collections::BTreeSet;

use serde_json::json;
use ttsvar_search::{Method, Scale};

use super::{
    arguments::{Collect as Typed, Global},
    console::Console,
    eval::workers,
    interrupt::undisturbed,
    memory::fit_plans,
    numbers::counted,
    progress::bar,
    prompts::{PROMPT, lines},
};
use crate::{
    Error, Result,
    collect::{CaptionedPrompt, Collection, CollectionFolder, SCHEMA, Settings},
    eval::{check_samples, stats::mean},
    options::Options,
    request::{self, Session},
    system::System,
};

pub(super) fn run(typed: &Typed, global: &Global, console: &Console) -> Result<()> {
    let prompts = captioned(&lines(&typed.prompts, PROMPT)?)?;
    check_samples(prompts.len(), typed.samples)?;
    if typed.shard == 0 {
        return Err(
            Error::input("--shard is 0, but every file needs at least 1 sample")
                .with_hint("leave it out to use the default, 256"),
        );
    }
    if typed.resume && !CollectionFolder::exists_in(&typed.out) {
        return Err(Error::file(&typed.out, "no collection to resume")
            .with_hint("leave --resume out to start one"));
    }
    let mut system = console.open(&global.system_within(&typed.system, typed.limit))?;
    if let Some(block) = typed.hidden_block {
        system = system.with_hidden_block(block);
    }
    let options = Options {
        method: Some(Method::Raw),
        n: Some(1),
        ..typed.image.0.clone()
    };
    let mut session = Session::new(&system, &options)?;
    console.advise(&session);
    let workers = workers(global);
    let plan = session.plan().clone();
    fit_plans(&mut session, [&plan], typed.limit, workers, console)?;
    session.read_networks()?;
    let settings = settings(typed, &session, prompts)?;
    let folder = CollectionFolder::open(&typed.out, &settings, typed.resume)?;
    let search = session.search();
    let collection = Collection {
        search: &search,
        settings: &settings,
        negative: session.options().negative.as_deref(),
        workers,
    };
    let summary = collect(&collection, &folder, console)?;
    print(&summary, typed, console)
}

/// The prompts of a list with their captions, all checked.
fn captioned(prompts: &[String]) -> Result<Vec<CaptionedPrompt>> {
    let mut all = vec![];
    for (i, line) in prompts.iter().enumerate() {
        let place = format!("prompt {}", i + 1);
        let read = CaptionedPrompt::parse(line, &place)?;
        let captions = read.captions.iter();
        let captions =
            captions.map(|caption| request::prompt(caption, &format!("a caption of {place}")));
        all.push(CaptionedPrompt {
            prompt: request::prompt(&read.prompt, &place)?,
            captions: captions.collect::<Result<_>>()?,
        });
    }
    Ok(all)
}

fn settings(
    typed: &Typed,
    session: &Session<'_>,
    prompts: Vec<CaptionedPrompt>,
) -> Result<Settings> {
    Ok(Settings {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: session.generator_settings(),
        scorer: single_scorer(session.system())?,
        scales: scales(&typed.scales, session.pipeline().scales())?,
        latents: typed.latents,
        hidden_block: typed.hidden_block,
        images: typed.images,
        shard: typed.shard,
        samples: typed.samples,
        seed: typed.image.0.seed.unwrap_or(0),
        prompts,
    })
}

/// The name of the only scorer.
fn single_scorer(system: &System) -> Result<String> {
    match system.scorers() {
        [only] => Ok(only.name.clone()),
        _ => Err(Error::input(
            "a mix of scorers standardises scores among candidates, so a verifier cannot predict it",
        )
        .with_hint("choose one scorer")),
    }
}

/// The chosen scales in ascending order, each once; all of them if none were chosen.
fn scales(chosen: &[usize], grids: &[Scale]) -> Result<Vec<usize>> {
    let last = grids.len() - 1;
    if let Some(beyond) = chosen.iter().find(|scale| **scale > last) {
        return Err(Error::input(format!(
            "--scales: there is no scale {beyond}; this model has scales 0 to {last}"
        ))
        .with_hint("`ttsvar plan` shows the scales of a model"));
    }
    match chosen.is_empty() {
        true => Ok((0..grids.len()).collect()),
        false => Ok(chosen
            .iter()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()),
    }
}

/// What a run did.
struct Summary {
    /// Samples that were drawn.
    drawn: usize,
    /// Samples in the folder.
    samples: usize,
    /// Scores that are NaN or infinite among those that were drawn.
    not_finite: usize,
    /// The mean of the other scores.
    mean: Option<f64>,
}

fn collect(
    collection: &Collection<'_>,
    folder: &CollectionFolder,
    console: &Console,
) -> Result<Summary> {
    let samples = collection.settings.total();
    let bar = bar(console, samples, "samples drawn");
    bar.set_position(folder.done() as u64);
    bar.reset_eta();
    let mut scores = vec![];
    collection.run(
        folder,
        |sample| {
            bar.inc(1);
            scores.extend_from_slice(&sample.scores);
        },
        |range, samples| undisturbed(|| folder.write(range, samples).map(drop)),
    )?;
    bar.finish_and_clear();
    let finite = || scores.iter().filter(|score| score.is_finite());
    Ok(Summary {
        drawn: samples - folder.done(),
        samples,
        not_finite: scores.len() - finite().count(),
        mean: mean(finite().map(|score| f64::from(*score))),
    })
}

fn print(summary: &Summary, typed: &Typed, console: &Console) -> Result<()> {
    if summary.not_finite > 0 {
        console.warn(
            &format!(
                "{} NaN or infinite",
                match summary.not_finite {
                    1 => "1 score is".to_owned(),
                    count => format!("{count} scores are"),
                }
            ),
            Some("exclude these pairs from training"),
        );
    }
    if console.json {
        let json = json!({
            "folder": typed.out.display().to_string(),
            "samples": summary.samples,
            "drawn": summary.drawn,
            "mean_score": summary.mean,
            "not_finite": summary.not_finite,
        });
        return console.result(&json.to_string());
    }
    let mean = match summary.mean {
        Some(mean) => format!(", mean score {mean:.3}"),
        None => String::new(),
    };
    console.result(&format!(
        "{}: {}, {} of them new{mean}",
        typed.out.display(),
        counted(summary.samples, "sample"),
        summary.drawn,
    ))
}
