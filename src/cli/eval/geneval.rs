//! `ttsvar eval geneval`: GenEval's prompts, with images generated here or by other programs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    super::{
        arguments::{GenEval as Typed, Global},
        console::Console,
    },
    benchmark::{self, EvalTarget, ExternalContender, ImageLayout},
    context,
    networks::GenEvalFiles,
};
use crate::{
    Error, Result,
    eval::{
        Contender, ResultRecord, Suite,
        external::ExternalImage,
        geneval::{GenEval, GenEvalFolder, Metadata, prompts, results as official, self_test},
    },
    file,
};

/// Samples per prompt, as in GenEval's own tables.
const SAMPLES: usize = 4;

pub(in super::super) fn run(typed: &Typed, global: &Global, console: &Console) -> Result<()> {
    let prompts = typed.prompts.as_deref().map(prompts::read).transpose()?;
    let files = GenEvalFiles::find(&typed.judges, typed.benchmark.system.weights.as_deref())?;
    let images = &typed.benchmark.images;
    let (external, prompts) = match prompts {
        known if !images.is_empty() => external_contenders(images, known.as_deref(), console)?,
        Some(known) => (vec![], known),
        None => {
            return Err(Error::input("GenEval needs its prompts").with_hint(
                "give the published file: `--prompts evaluation_metadata.jsonl` \
                 (553 lines, from djghosh13/geneval)",
            ));
        }
    };
    let most = external
        .iter()
        .flat_map(|contender| &contender.images)
        .map(|image| image.sample + 1)
        .max();
    let samples = match most {
        Some(most) => most.max(typed.samples.unwrap_or(0)),
        None => typed.samples.unwrap_or(SAMPLES),
    };
    let suite = open(&files, prompts, global, console)?;
    let target = EvalTarget {
        title: "GenEval",
        suite: &suite,
        described: described(&suite, &files),
        samples,
        graded: false,
        notes: vec![],
        out: &typed.out,
        resume: typed.benchmark.resume,
    };
    let results = if external.is_empty() {
        target.generate(&typed.benchmark, &suite, global, console)?
    } else {
        target.compare(&external, console)?
    };
    for (name, contender) in &results.names {
        let mut lines = String::new();
        for (path, record) in results.records_of(contender) {
            let prompt = &suite.prompts()[record.case];
            let line = official::line(&path.display().to_string(), prompt, record);
            lines += &format!("{line}\n");
        }
        let path = typed.out.join("results").join(format!("{name}.jsonl"));
        benchmark::write(&path, &lines)?;
    }
    context::print_results(console, &results.tables, &typed.out)
}

/// The suite with its networks, after the self-test.
fn open(
    files: &GenEvalFiles,
    prompts: Vec<Metadata>,
    global: &Global,
    console: &Console,
) -> Result<GenEval> {
    let images = self_test()?;
    let (detector, colours) = files.open(&global.device.open()?)?;
    console.note(&format!(
        "self-test: boxes, masks, colours and rules are right on {images} synthetic images"
    ));
    Ok(GenEval::new(prompts, detector, colours))
}

/// The description of the suite for the setup.
fn described(suite: &GenEval, files: &GenEvalFiles) -> Map<String, Value> {
    let described = json!({
        "name": suite.name(),
        "prompts": suite.prompts().iter().map(|one| &one.prompt).collect::<Vec<_>>(),
        "detector": files.detector.display().to_string(),
        "clip": files.clip.display().to_string(),
    });
    described.as_object().cloned().unwrap_or_default()
}

/// GenEval's layout: `00000/samples/0000.png` beside `00000/metadata.jsonl`.
impl ImageLayout for GenEval {
    fn path(&self, record: &ResultRecord) -> PathBuf {
        Path::new(&format!("{:05}", record.case))
            .join("samples")
            .join(format!("{:04}.png", record.sample))
    }

    fn write_metadata(&self, path: &Path, record: &ResultRecord) -> Result<()> {
        let metadata = path
            .parent()
            .unwrap_or(path)
            .with_file_name("metadata.jsonl");
        if metadata.exists() {
            return Ok(());
        }
        let line = Value::Object(self.prompts()[record.case].line.clone());
        file::replace(&metadata, format!("{line}\n").as_bytes()).map_err(Error::io(&metadata))
    }
}

/// The images in folders, and all their prompts. Warns about problems.
fn external_contenders(
    folders: &[PathBuf],
    known: Option<&[Metadata]>,
    console: &Console,
) -> Result<(Vec<ExternalContender>, Vec<Metadata>)> {
    let contenders = benchmark::contenders(folders)?;
    let mut read = folders
        .iter()
        .map(|path| GenEvalFolder::read(path, known))
        .collect::<Result<Vec<_>>>()?;
    let (cases, prompts) = join(&contenders, &mut read, known);
    for fault in read.iter().flat_map(|folder| &folder.faults) {
        console.warn(fault, None);
    }
    let mut all = vec![];
    for ((contender, path), folder) in contenders.into_iter().zip(folders).zip(read) {
        let mut images = vec![];
        for image in folder.images {
            if let Some(&case) = cases.get(&image.number) {
                images.push(ExternalImage {
                    case,
                    sample: image.sample,
                    path: image.path,
                });
            }
        }
        all.push(ExternalContender {
            contender,
            folder: path.clone(),
            images,
        });
    }
    Ok((all, prompts))
}

/// All prompts, and their cases by number. If folders disagree, the first one counts.
fn join(
    contenders: &[Contender],
    folders: &mut [GenEvalFolder],
    known: Option<&[Metadata]>,
) -> (BTreeMap<usize, usize>, Vec<Metadata>) {
    let mut all: BTreeMap<usize, Metadata> =
        known.into_iter().flatten().cloned().enumerate().collect();
    for (contender, folder) in contenders.iter().zip(folders) {
        let GenEvalFolder {
            prompts,
            images,
            faults,
        } = folder;
        for (number, metadata) in prompts {
            let first = all.entry(*number).or_insert_with(|| metadata.clone());
            if first.line != metadata.line {
                faults.push(format!(
                    "{}/{number:05}: has a different prompt from the folders before; \
                     its images are skipped",
                    contender.method
                ));
                images.retain(|image| image.number != *number);
            }
        }
    }
    let cases = all
        .keys()
        .enumerate()
        .map(|(case, number)| (*number, case))
        .collect();
    (cases, all.into_values().collect())
}
