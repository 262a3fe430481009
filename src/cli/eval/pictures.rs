//! `ttsvar eval geneval --images`: pictures that were made elsewhere.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde_json::Map;

use super::{
    super::{
        arguments::{GenEval as Typed, Global},
        findings::Findings,
        interrupt::undisturbed,
        progress::bar,
        talk::Talk,
    },
    geneval::{described, open, write_page, write_results},
    hall::{self, Asked},
    judges::Files,
};
use crate::{
    Error, Result,
    eval::{
        Contender, Log, Record, Summary,
        geneval::{GenEval, Metadata, PictureFolder},
        shown::{self, Shown},
    },
    file::slug,
    report::verdicts,
};

/// A folder of pictures under the name that it has in tables.
struct Side {
    contender: Contender,
    folder: PictureFolder,
}

pub(super) fn run(
    typed: &Typed,
    known: Option<&[Metadata]>,
    files: &Files,
    global: &Global,
    talk: &Talk,
) -> Result<()> {
    let mut sides = sides(&typed.images, known)?;
    let (numbers, prompts) = prompts(&mut sides, known);
    for fault in sides.iter().flat_map(|side| &side.folder.faults) {
        talk.warn(fault, None);
    }
    let suite = open(files, prompts, global, talk)?;
    let contenders: Vec<Contender> = sides.iter().map(|side| side.contender.clone()).collect();
    let most = |side: &Side| side.folder.pictures.iter().map(|picture| picture.sample + 1).max().unwrap_or(0);
    let asked = Asked {
        title: "GenEval",
        suite: &suite,
        described: described(&suite, files),
        contenders: &contenders,
        samples: sides.iter().map(most).max().unwrap_or(0),
        seed: 0,
        consistency: 0,
        folder: &typed.out,
        resume: typed.resume,
    };
    let mut log = Log::open(&typed.out, &asked.setup(Map::new()), typed.resume)?;
    let bar = bar(talk, sides.iter().map(|side| side.folder.pictures.len()).sum(), "pictures judged");
    let mut files_of = HashMap::new();
    for side in &sides {
        let shown = side.shown(&numbers);
        let name = &side.contender.method;
        files_of.extend(shown.iter().map(|one| ((name.clone(), one.case, one.sample), one.path.clone())));
        judge(&suite, side, &shown, &mut log, talk, &bar)?;
        let own = log.records().iter().filter(|record| side.contender.is(&record.method, record.n));
        let named = own.filter_map(|record| Some((files_of.get(&key(record))?.clone(), record)));
        write_results(&typed.out, &slug(&side.contender.method), suite.prompts(), named)?;
    }
    bar.finish_and_clear();
    let summary = Summary::new(&suite, asked.samples, &contenders, log.records());
    let findings = Findings::new(asked.title, summary, vec![]);
    findings.write(&typed.out)?;
    let home = absolute(&typed.out)?;
    let seen = |record| Some(absolute(files_of.get(&key(record))?).map(|file| (verdicts::way(&home, &file), record)));
    write_page(&typed.out, &findings, &log.records().iter().filter_map(seen).collect::<Result<Vec<_>>>()?)?;
    hall::say(talk, &findings, &typed.out)
}

/// What tells a picture from all others.
fn key(record: &Record) -> (String, usize, usize) {
    (record.method.clone(), record.case, record.sample)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::io(path))
}

fn judge(
    suite: &GenEval,
    side: &Side,
    shown: &[Shown],
    log: &mut Log,
    talk: &Talk,
    bar: &indicatif::ProgressBar,
) -> Result<()> {
    let known = log.records().to_vec();
    let judge = |cases: &[usize], images: &[_]| suite.judge_together(cases, images);
    let keep = |record| {
        bar.inc(1);
        undisturbed(|| log.add(record))
    };
    let lost = |_: &Path, error: &Error| bar.suspend(|| talk.warn(&format!("{error} It counts as missing."), None));
    shown::judge(suite, &side.contender, shown, &known, judge, keep, lost)
}

/// The folders, each under its own name.
fn sides(folders: &[PathBuf], known: Option<&[Metadata]>) -> Result<Vec<Side>> {
    let mut sides: Vec<Side> = vec![];
    for path in folders {
        let name = path
            .components()
            .next_back()
            .map_or_else(String::new, |name| name.as_os_str().to_string_lossy().into_owned());
        if sides.iter().any(|side| side.contender.method == name) {
            return Err(Error::file(path, format!("a second folder called `{name}`"))
                .with_hint("tables tell folders apart by their names; rename one"));
        }
        let folder = PictureFolder::read(path, known)?;
        sides.push(Side { contender: shown::contender(&name)?, folder });
    }
    Ok(sides)
}

/// All prompts with their places by number. Where folders disagree, the first one counts.
fn prompts(sides: &mut [Side], known: Option<&[Metadata]>) -> (BTreeMap<usize, usize>, Vec<Metadata>) {
    let mut all: BTreeMap<usize, Metadata> = known.into_iter().flatten().cloned().enumerate().collect();
    for side in sides {
        let PictureFolder { prompts, pictures, faults } = &mut side.folder;
        for (number, metadata) in prompts {
            let first = all.entry(*number).or_insert_with(|| metadata.clone());
            if first.line != metadata.line {
                let name = &side.contender.method;
                faults.push(format!(
                    "{name}/{number:05}: is about another prompt than before: its pictures are left out"
                ));
                pictures.retain(|picture| picture.number != *number);
            }
        }
    }
    let places = all.keys().enumerate().map(|(place, number)| (*number, place)).collect();
    (places, all.into_values().collect())
}

impl Side {
    /// The pictures by the places of their prompts.
    fn shown(&self, places: &BTreeMap<usize, usize>) -> Vec<Shown> {
        let one = |picture: &crate::eval::geneval::folder::Picture| {
            let case = *places.get(&picture.number)?;
            Some(Shown { case, sample: picture.sample, path: picture.path.clone() })
        };
        self.folder.pictures.iter().filter_map(one).collect()
    }
}
