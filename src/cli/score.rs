//! `ttsvar score`: pictures against a prompt, by one scorer or several.

use std::{
    fs,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use ttsvar_search::{Image, Scorer, number};

use super::{
    REFUSED, arguments,
    console::Console,
    progress::bar,
    table::{Align, Table},
};
use crate::{
    Error, Result, eval::external::unread_images, image::Png, report::Provenance,
    scorers::ScorerMix, system::LoadedScorer,
};

/// Pictures that are in memory together.
const TOGETHER: usize = 32;

/// Scores every picture. What goes wrong with one of them is said, and the others are scored; the
/// exit code tells.
pub(super) fn run(
    typed: &arguments::Score,
    global: &arguments::Global,
    console: &Console,
) -> Result<u8> {
    let mix = typed.system.scorer.as_ref();
    if let Some((name, weight)) = mix
        .into_iter()
        .flat_map(ScorerMix::scorers)
        .find(|(_, weight)| *weight != 1.0)
    {
        return Err(Error::input(format!(
            "`{name}={weight}`: pictures get the number of each scorer, not a mix"
        ))
        .with_hint("leave the weights out; `ttsvar generate` searches by mixes"));
    }
    let prompt = typed.prompt.as_deref().map(str::trim);
    if prompt.is_some_and(str::is_empty) {
        return Err(
            Error::input("--prompt is empty").with_hint("say what the pictures should show")
        );
    }
    let files = pictures(&typed.images)?;
    for fault in typed.images.iter().filter_map(|path| unread_images(path)) {
        console.warn(&fault, None);
    }
    let set = global.system(&typed.system).open_scorers()?;
    if set.from_demo {
        console.note(
            "scored by the demo, which knows flat shapes only; --weights DIR uses released scorers",
        );
    }
    let judges = &set.scorers;
    let reads = set.reads_prompt;
    let panel = Panel {
        judges,
        prompt,
        reads,
    };
    let bar = bar(console, files.len() * judges.len(), "scores");
    let mut rows = Vec::with_capacity(files.len());
    for files in files.chunks(TOGETHER) {
        rows.extend(panel.score(files, &bar)?);
    }
    bar.finish_and_clear();
    for error in rows.iter().filter_map(|row| row.found.as_ref().err()) {
        console.error(error);
    }
    if console.json {
        let lines: Vec<String> = rows
            .iter()
            .map(|row| row.json(judges).to_string())
            .collect();
        console.result(&lines.join("\n"))?;
    } else if rows.iter().any(|row| row.found.is_ok()) {
        console.result(&table(&rows, judges, prompt.is_none() && reads).to_string())?;
    }
    Ok(if rows.iter().all(|row| row.found.is_ok()) {
        0
    } else {
        REFUSED
    })
}

/// The files themselves, and in their order the PNG files of folders.
fn pictures(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = vec![];
        for entry in fs::read_dir(path).map_err(Error::io(path))? {
            let file = entry.map_err(Error::io(path))?.path();
            let png = file
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("png"));
            inside.extend(png.then_some(file));
        }
        if inside.is_empty() {
            return Err(Error::file(path, "holds no picture")
                .with_hint("only PNG files can be read as pictures"));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Who scores, and what for.
struct Panel<'a> {
    judges: &'a [LoadedScorer],
    /// The same for all pictures; otherwise each has its own.
    prompt: Option<&'a str>,
    /// Whether any of them reads it.
    reads: bool,
}

/// What is said of one picture.
struct Row {
    file: PathBuf,
    found: Result<Found>,
}

struct Found {
    prompt: String,
    /// One of each scorer.
    scores: Vec<f32>,
}

impl Panel<'_> {
    /// Pictures of one prompt go through the networks together.
    fn score(&self, files: &[PathBuf], bar: &ProgressBar) -> Result<Vec<Row>> {
        let mut read: Vec<Result<(Image, Found)>> =
            files.iter().map(|file| self.read(file)).collect();
        let mut prompts: Vec<String> = read
            .iter()
            .flatten()
            .map(|(_, found)| found.prompt.clone())
            .collect();
        prompts.sort_unstable();
        prompts.dedup();
        for prompt in prompts {
            let of_prompt = |(_, one): &(usize, &(Image, Found))| one.1.prompt == prompt;
            let good = read
                .iter()
                .enumerate()
                .filter_map(|(i, one)| one.as_ref().ok().map(|one| (i, one)));
            let (places, images): (Vec<usize>, Vec<Image>) = good
                .filter(of_prompt)
                .map(|(i, (image, _))| (i, image.clone()))
                .unzip();
            for judge in self.judges {
                let scores = judge.score(&prompt, &images)?;
                bar.inc(images.len() as u64);
                for (&place, score) in places.iter().zip(scores) {
                    if let Ok((_, found)) = &mut read[place] {
                        found.scores.push(score);
                    }
                }
            }
        }
        let row = |(file, found): (&PathBuf, Result<_>)| {
            bar.inc(if found.is_err() {
                self.judges.len() as u64
            } else {
                0
            });
            Row {
                file: file.clone(),
                found: found.map(|(_, found)| found),
            }
        };
        Ok(files.iter().zip(read).map(row).collect())
    }

    /// A picture and what it should show.
    fn read(&self, file: &Path) -> Result<(Image, Found)> {
        let png = Png::open(file)?;
        if png.image.pixels().is_empty() {
            return Err(Error::file(file, "a picture without pixels"));
        }
        let prompt = match self.prompt {
            Some(prompt) => prompt.to_owned(),
            None if !self.reads => String::new(),
            None => own_prompt(file, &png)?,
        };
        Ok((
            png.image,
            Found {
                prompt,
                scores: vec![],
            },
        ))
    }
}

/// The prompt that a picture says it was painted for.
fn own_prompt(file: &Path, png: &Png) -> Result<String> {
    let said = Provenance::read(png).map_err(|error| Error::file(file, error.to_string()))?;
    let said = said.map(|record| record.prompt);
    said.ok_or_else(|| {
        Error::file(file, "does not say what it should show")
            .with_hint("say it: --prompt \"a red circle\"")
    })
}

impl Row {
    fn json(&self, judges: &[LoadedScorer]) -> Value {
        let file = self.file.display().to_string();
        match &self.found {
            Err(error) => json!({ "file": file, "error": error.to_string() }),
            Ok(Found { prompt, scores }) => {
                let score = |(judge, score): (&LoadedScorer, &f32)| {
                    (judge.name.clone(), number::to_json(*score))
                };
                let scores = judges.iter().zip(scores).map(score).collect::<Map<_, _>>();
                json!({ "file": file, "prompt": prompt, "scores": scores })
            }
        }
    }
}

/// A row a picture; the prompts where each picture has its own.
fn table(rows: &[Row], judges: &[LoadedScorer], prompts: bool) -> Table {
    let mut heads = vec![("picture", Align::Left)];
    heads.extend(
        judges
            .iter()
            .map(|judge| (judge.name.as_str(), Align::Right)),
    );
    heads.extend(prompts.then_some(("prompt", Align::Left)));
    let mut table = Table::with_columns(heads);
    for row in rows {
        let mut cells = vec![row.file.display().to_string()];
        match &row.found {
            Ok(found) => {
                cells.extend(found.scores.iter().map(|score| format!("{score:.4}")));
                cells.extend(prompts.then(|| found.prompt.clone()));
            }
            Err(_) => {
                cells.extend(judges.iter().map(|_| "-".to_owned()));
                cells.extend(prompts.then(String::new));
            }
        }
        table.cells(cells);
    }
    table
}
