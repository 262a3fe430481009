//! `ttsvar eval geneval`: GenEval's prompts, painted here or elsewhere.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    super::{
        arguments::{GenEval as Typed, Global},
        talk::Talk,
    },
    contest::{self, Keeper, Side, Subject},
    hall,
    judges::Files,
};
use crate::{
    Error, Result,
    eval::{
        Contender, ResultRecord, Suite,
        geneval::{GenEval, Metadata, PictureFolder, prompts, results, self_test},
        shown::Shown,
    },
    file,
};

/// Tries with every prompt, as in GenEval's own tables.
const SAMPLES: usize = 4;

pub(in super::super) fn run(typed: &Typed, global: &Global, talk: &Talk) -> Result<()> {
    let prompts = typed.prompts.as_deref().map(prompts::read).transpose()?;
    let files = Files::find(&typed.judges, typed.contest.system.weights.as_deref())?;
    let images = &typed.contest.images;
    let (sides, prompts) = match prompts {
        known if !images.is_empty() => sides(images, known.as_deref(), talk)?,
        Some(known) => (vec![], known),
        None => {
            return Err(Error::input("GenEval needs its prompts").with_hint(
                "give the published file: `--prompts evaluation_metadata.jsonl` (553 lines, from djghosh13/geneval)",
            ));
        }
    };
    let most = sides
        .iter()
        .flat_map(|side| &side.shown)
        .map(|one| one.sample + 1)
        .max();
    let suite = open(&files, prompts, global, talk)?;
    let subject = Subject {
        title: "GenEval",
        suite: &suite,
        described: described(&suite, &files),
        samples: most.map_or(typed.samples.unwrap_or(SAMPLES), |most| {
            most.max(typed.samples.unwrap_or(0))
        }),
        graded: false,
        notes: vec![],
        out: &typed.out,
        resume: typed.contest.resume,
    };
    let judgings = match sides.is_empty() {
        true => subject.paint(&typed.contest, &suite, global, talk)?,
        false => subject.compare(&sides, talk)?,
    };
    for (name, who) in &judgings.names {
        let line = |(path, record): (&Path, &ResultRecord)| {
            let prompt = &suite.prompts()[record.case];
            format!(
                "{}\n",
                results::line(&path.display().to_string(), prompt, record)
            )
        };
        let lines: String = judgings.of(who).into_iter().map(line).collect();
        contest::write(
            &typed.out.join("results").join(format!("{name}.jsonl")),
            &lines,
        )?;
    }
    hall::say(talk, &judgings.findings, &typed.out)
}

/// The suite with its networks, after the self-test.
fn open(files: &Files, prompts: Vec<Metadata>, global: &Global, talk: &Talk) -> Result<GenEval> {
    let pictures = self_test()?;
    let (detector, colours) = files.open(&global.device.open()?)?;
    talk.note(&format!(
        "self-test: boxes, masks, colours and rules are right on {pictures} drawn pictures"
    ));
    Ok(GenEval::new(prompts, detector, colours))
}

/// The suite as it is recorded.
fn described(suite: &GenEval, files: &Files) -> Map<String, Value> {
    let described = json!({
        "name": suite.name(),
        "prompts": suite.prompts().iter().map(|one| &one.prompt).collect::<Vec<_>>(),
        "detector": files.detector.display().to_string(),
        "clip": files.clip.display().to_string(),
    });
    described.as_object().cloned().unwrap_or_default()
}

/// GenEval's own layout: `00000/samples/0000.png` beside `00000/metadata.jsonl`.
impl Keeper for GenEval {
    fn place(&self, record: &ResultRecord) -> PathBuf {
        Path::new(&format!("{:05}", record.case))
            .join("samples")
            .join(format!("{:04}.png", record.sample))
    }

    fn beside(&self, path: &Path, record: &ResultRecord) -> Result<()> {
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

/// The pictures of folders, and all their prompts. What is missing or wrong is said.
fn sides(
    folders: &[PathBuf],
    known: Option<&[Metadata]>,
    talk: &Talk,
) -> Result<(Vec<Side>, Vec<Metadata>)> {
    let contenders = contest::contenders(folders)?;
    let mut read = folders
        .iter()
        .map(|path| PictureFolder::read(path, known))
        .collect::<Result<Vec<_>>>()?;
    let (places, prompts) = join(&contenders, &mut read, known);
    for fault in read.iter().flat_map(|folder| &folder.faults) {
        talk.warn(fault, None);
    }
    let side = |((contender, path), folder): ((Contender, &PathBuf), PictureFolder)| {
        let shown = folder.pictures.into_iter().filter_map(|picture| {
            let case = *places.get(&picture.number)?;
            Some(Shown {
                case,
                sample: picture.sample,
                path: picture.path,
            })
        });
        Side {
            contender,
            folder: path.clone(),
            shown: shown.collect(),
        }
    };
    Ok((
        contenders
            .into_iter()
            .zip(folders)
            .zip(read)
            .map(side)
            .collect(),
        prompts,
    ))
}

/// All prompts with their places by number. Where folders disagree, the first one counts.
fn join(
    contenders: &[Contender],
    folders: &mut [PictureFolder],
    known: Option<&[Metadata]>,
) -> (BTreeMap<usize, usize>, Vec<Metadata>) {
    let mut all: BTreeMap<usize, Metadata> =
        known.into_iter().flatten().cloned().enumerate().collect();
    for (contender, folder) in contenders.iter().zip(folders) {
        let PictureFolder {
            prompts,
            pictures,
            faults,
        } = folder;
        for (number, metadata) in prompts {
            let first = all.entry(*number).or_insert_with(|| metadata.clone());
            if first.line != metadata.line {
                let name = &contender.method;
                faults.push(format!(
                    "{name}/{number:05}: is about another prompt than before: its pictures are left out"
                ));
                pictures.retain(|picture| picture.number != *number);
            }
        }
    }
    let places = all
        .keys()
        .enumerate()
        .map(|(place, number)| (*number, place))
        .collect();
    (places, all.into_values().collect())
}
