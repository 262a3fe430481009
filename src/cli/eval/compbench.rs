//! `ttsvar eval compbench`: T2I-CompBench's prompts, painted here or elsewhere.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{
    super::{
        arguments::{CompBench as Typed, Global},
        talk::Talk,
    },
    contest::{self, Judgings, Keeper, Side, Subject},
    hall,
    judges::{BenchFiles, Needs},
};
use crate::{
    Error, Result,
    eval::{
        ResultRecord, Suite,
        geneval::self_test,
        shown::Shown,
        t2i_compbench::{Category, CompBench, PictureFolder, Prompt, folder, prompts, results},
    },
};

/// Pictures of every prompt, as in the original's tables.
const SAMPLES: usize = 10;

pub(in super::super) fn run(typed: &Typed, global: &Global, talk: &Talk) -> Result<()> {
    let samples = typed.samples.unwrap_or(SAMPLES);
    if samples == 0 {
        return Err(Error::input(
            "--samples is 0, but every prompt has at least 1 picture",
        ));
    }
    let wanted = typed
        .categories
        .iter()
        .map(|name| name.parse())
        .collect::<Result<Vec<Category>>>()?;
    let read = prompts::read(&typed.prompts, &wanted)?;
    read.faults.iter().for_each(|fault| talk.warn(fault, None));
    let needs = Needs::of(&read.all);
    let files = BenchFiles::find(
        &typed.judges,
        needs,
        typed.contest.system.weights.as_deref(),
    )?;
    let suite = open(&files, needs, read.all, typed.every_prompt, global, talk)?;
    let mut notes = suite.differences();
    notes.extend(files.clip.as_deref().and_then(Path::file_name).map(|name| {
        format!(
            "pictures and prompts are compared by the CLIP `{}`, by ViT-B/32 in the original",
            name.display()
        )
    }));
    let subject = Subject {
        title: "T2I-CompBench",
        suite: &suite,
        described: described(&suite, &files, &notes),
        samples,
        graded: true,
        notes,
        out: &typed.out,
        resume: typed.contest.resume,
    };
    let shelf = Shelf {
        suite: &suite,
        samples,
    };
    let judgings = match typed.contest.images.as_slice() {
        [] => subject.paint(&typed.contest, &shelf, global, talk)?,
        folders => subject.compare(&sides(folders, &suite, samples, talk)?, talk)?,
    };
    shelf.write_results(&judgings, &typed.out, &subject.notes)?;
    hall::say(talk, &judgings.findings, &typed.out)
}

/// The suite with those networks that are needed; where things are looked for, after the self-test.
fn open(
    files: &BenchFiles,
    needs: Needs,
    prompts: Vec<Prompt>,
    every: bool,
    global: &Global,
    talk: &Talk,
) -> Result<CompBench> {
    if needs.boxes {
        let pictures = self_test()?;
        talk.note(&format!(
            "self-test: boxes and masks are right on {pictures} drawn pictures"
        ));
    }
    let suite = CompBench::new(prompts, files.open(&global.device.open()?)?, every);
    if suite.cases().is_empty() {
        return Err(Error::input(
            "every prompt names something without a class of the detector, nothing can be judged",
        )
        .with_hint("--every-prompt judges them all the same; such things are then never found"));
    }
    Ok(suite)
}

/// The suite as it is recorded.
fn described(suite: &CompBench, files: &BenchFiles, notes: &[String]) -> Map<String, Value> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let described = json!({
        "name": suite.name(),
        "prompts": suite.prompts().map(|one| json!([one.category.name(), one.number, one.text])).collect::<Vec<_>>(),
        "blip": path(&files.blip),
        "detector": path(&files.detector),
        "clip": path(&files.clip),
        "differences": notes,
    });
    described.as_object().cloned().unwrap_or_default()
}

/// The pictures of folders. What is missing or wrong is said.
fn sides(folders: &[PathBuf], suite: &CompBench, samples: usize, talk: &Talk) -> Result<Vec<Side>> {
    let prompts: Vec<&Prompt> = suite.prompts().collect();
    let contenders = contest::contenders(folders)?;
    let side = |(contender, path): (_, &PathBuf)| {
        let folder = PictureFolder::read(path, &prompts, samples)?;
        folder
            .faults
            .iter()
            .for_each(|fault| talk.warn(fault, None));
        let shown = |one: folder::Picture| Shown {
            case: one.case,
            sample: one.sample,
            path: one.path,
        };
        Ok(Side {
            contender,
            folder: path.clone(),
            shown: folder.pictures.into_iter().map(shown).collect(),
        })
    };
    contenders.into_iter().zip(folders).map(side).collect()
}

/// The original's own layout: `color/samples/PROMPT_000012.png`, and the scores beside `samples`.
struct Shelf<'a> {
    suite: &'a CompBench,
    samples: usize,
}

impl Shelf<'_> {
    fn prompt(&self, record: &ResultRecord) -> Option<&Prompt> {
        self.suite.prompts().nth(record.case)
    }

    /// The number of a picture in its category.
    fn number(&self, record: &ResultRecord) -> usize {
        self.prompt(record)
            .map_or(0, |prompt| prompt.number * self.samples + record.sample)
    }

    /// Writes `results/NAME/color/annotation_blip/vqa_result.json` and so on.
    fn write_results(&self, judgings: &Judgings, out: &Path, notes: &[String]) -> Result<()> {
        for (name, who) in &judgings.names {
            let home = out.join("results").join(name);
            contest::write(&home.join("differences.txt"), &(notes.join("\n") + "\n"))?;
            let records = judgings.of(who);
            for category in Category::ALL {
                let own = records
                    .iter()
                    .filter(|(_, record)| record.task == category.name());
                let own: Vec<(usize, &ResultRecord)> = own
                    .map(|(_, record)| (self.number(record), *record))
                    .collect();
                let files = if own.is_empty() {
                    vec![]
                } else {
                    results::files(category, &own)
                };
                for (file, text) in files {
                    contest::write(&home.join(category.name()).join(file), &text)?;
                }
            }
        }
        Ok(())
    }
}

impl Keeper for Shelf<'_> {
    fn place(&self, record: &ResultRecord) -> PathBuf {
        let name = folder::file_name(&record.prompt, self.number(record));
        Path::new(&record.task).join("samples").join(name)
    }

    fn beside(&self, _: &Path, _: &ResultRecord) -> Result<()> {
        Ok(())
    }
}
