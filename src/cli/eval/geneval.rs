//! `ttsvar eval geneval`: GenEval's prompts, painted here or elsewhere.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    super::{
        arguments::{GenEval as Typed, Global},
        findings::Findings,
        request::look,
        system,
        talk::Talk,
    },
    hall::{self, Asked, Hall},
    judges::Files,
    pictures,
};
use crate::{
    Error, Result,
    bundle::DEMO,
    eval::{
        Contender, Judged, Record, Suite,
        geneval::{GenEval, Metadata, prompts, results, self_test},
    },
    file::{self, slug},
    report::verdicts,
    request::{Named, recorded},
    search::Method,
};

/// Tries with every prompt, as in GenEval's own tables.
const SAMPLES: usize = 4;

pub(in super::super) fn run(typed: &Typed, global: &Global, talk: &Talk) -> Result<()> {
    let prompts = typed.prompts.as_deref().map(prompts::read).transpose()?;
    let files = Files::find(&typed.judges, typed.model.weights.as_deref())?;
    if !typed.images.is_empty() {
        return pictures::run(typed, prompts.as_deref(), &files, global, talk);
    }
    let Some(prompts) = prompts else {
        return Err(Error::input("GenEval needs its prompts").with_hint(
            "give the published file: `--prompts evaluation_metadata.jsonl` (553 lines, from djghosh13/geneval)",
        ));
    };
    let methods = typed.methods.iter().map(|name| name.parse()).collect::<Result<Vec<Method>>>()?;
    let look = look(&typed.canvas, typed.drawing)?;
    let suite = open(&files, prompts, global, talk)?;
    let model = typed.model.model.as_deref().unwrap_or(DEMO);
    let system = system::open(model, typed.model.weights.as_deref(), global)?;
    let settings = look.settings(system.defaults());
    let pipeline = system.pipeline(&settings)?;
    let contenders = Contender::grid(&methods, &typed.n, pipeline.scales().len())?;
    // Small searches side by side; a large model and the detector take all threads themselves.
    let workers = if model == DEMO { hall::workers(global) } else { 1 };
    let asked = Asked {
        title: "GenEval",
        suite: &suite,
        described: described(&suite, &files),
        contenders: &contenders,
        samples: typed.samples.unwrap_or(SAMPLES),
        seed: typed.drawing.seed.unwrap_or(0),
        consistency: 0,
        folder: &typed.out,
        resume: typed.resume,
    };
    let settings = recorded(model, Named::default(), &look, &settings);
    let hall = Hall { system: &system, pipeline: pipeline.as_ref(), settings, workers, talk };
    let (findings, log) =
        hall.run(&asked, |judged| if typed.keep { keep(&typed.out, &suite, judged) } else { Ok(()) })?;
    for contender in &contenders {
        let own = log.records().iter().filter(|record| contender.is(&record.method, record.n));
        let named = own.map(|record| (kept_at(&typed.out, record), record));
        write_results(&typed.out, &name_of(&contender.method, contender.n), suite.prompts(), named)?;
    }
    if typed.keep {
        let shown: Vec<_> = log.records().iter().map(|record| (kept_at(Path::new(""), record), record)).collect();
        write_page(&typed.out, &findings, &shown)?;
    }
    hall::say(talk, &findings, &typed.out)
}

/// The suite with its networks, after the self-test.
///
/// # Errors
/// The self-test fails, or a network cannot be opened.
pub(super) fn open(files: &Files, prompts: Vec<Metadata>, global: &Global, talk: &Talk) -> Result<GenEval> {
    let pictures = self_test()?;
    let (detector, colours) = files.open(&system::device(&global.device)?)?;
    talk.note(&format!("self-test: boxes, masks, colours and rules are right on {pictures} drawn pictures"));
    Ok(GenEval::new(prompts, detector, colours))
}

/// The suite as it is recorded.
pub(super) fn described(suite: &GenEval, files: &Files) -> Map<String, Value> {
    let described = json!({
        "name": suite.name(),
        "prompts": suite.prompts().iter().map(|one| &one.prompt).collect::<Vec<_>>(),
        "detector": files.detector.display().to_string(),
        "clip": files.clip.display().to_string(),
    });
    described.as_object().cloned().unwrap_or_default()
}

/// `tts-var-4`
fn name_of(method: &str, n: usize) -> String {
    format!("{}-{n}", slug(method))
}

/// Where the picture of a record is kept, in the layout of GenEval.
fn kept_at(out: &Path, record: &Record) -> PathBuf {
    let contender = name_of(&record.method, record.n);
    let (case, sample) = (format!("{:05}", record.case), format!("{:04}.png", record.sample));
    out.join("images").join(contender).join(case).join("samples").join(sample)
}

fn keep(out: &Path, suite: &GenEval, judged: &Judged) -> Result<()> {
    let path = kept_at(out, &judged.record);
    let samples = path.parent().unwrap_or(out);
    fs::create_dir_all(samples).map_err(Error::io(samples))?;
    let metadata = samples.with_file_name("metadata.jsonl");
    if !metadata.exists() {
        let line = Value::Object(suite.prompts()[judged.record.case].line.clone());
        file::replace(&metadata, format!("{line}\n").as_bytes()).map_err(Error::io(&metadata))?;
    }
    judged.image.save(&path)
}

/// Writes `report.html`; the records come with the files of their pictures, seen from `out`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_page(out: &Path, findings: &Findings, records: &[(PathBuf, &Record)]) -> Result<()> {
    let path = out.join("report.html");
    file::replace(&path, verdicts::page("GenEval", findings.summary(), records).as_bytes()).map_err(Error::io(&path))
}

/// Writes `results/NAME.jsonl`, the lines in the order of prompts and tries.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_results<'r>(
    out: &Path,
    name: &str,
    prompts: &[Metadata],
    records: impl Iterator<Item = (PathBuf, &'r Record)>,
) -> Result<()> {
    let line = |(path, record): (PathBuf, &Record)| {
        let line = results::line(&path.display().to_string(), &prompts[record.case], record);
        ((record.case, record.sample), format!("{line}\n"))
    };
    let lines: BTreeMap<(usize, usize), String> = records.map(line).collect();
    let folder = out.join("results");
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let path = folder.join(format!("{name}.jsonl"));
    let text: String = lines.into_values().collect();
    file::replace(&path, text.as_bytes()).map_err(Error::io(&path))
}
