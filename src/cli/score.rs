//! `ttsvar score`: rates images for a prompt, with one scorer or several.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use ttsvar_search::{AnsweredQuestion, Image, Scorer, number};

use super::{
    REFUSED, arguments,
    console::Console,
    progress::bar,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    image::{self, Content, Format, ImageFolder, MAX_PIXELS, Png, READABLE, content_of},
    quoting,
    request::recorded::Origin,
    scorers::ScorerMix,
    system::{ScorerWithQuestions, with_questions},
};

/// Images that are in memory at once, unless they are so large that fewer reach [`MAX_PIXELS`].
const CHUNK: usize = 32;

/// Scores every image. An error with one image is reported and the others are scored; the exit code
/// tells.
pub(super) fn run(
    typed: &arguments::Score,
    global: &arguments::Global,
    console: &Console,
) -> Result<u8> {
    refuse_weights(typed.system.scorer.as_ref())?;
    let prompt = typed.prompt.as_deref().map(str::trim);
    if prompt.is_some_and(str::is_empty) {
        return Err(Error::input("--prompt is empty").with_hint("describe the images"));
    }
    let files = image_files(&typed.images, console)?;
    let set = console.open_scorers(&global.system(&typed.system))?;
    if set.from_demo {
        console.note(
            "scored by the demo, which only knows flat shapes; use --weights DIR for released scorers",
        );
    }
    let scorers = with_questions(&set.scorers, &typed.options.0)?;
    let job = ScoreJob {
        scorers: &scorers,
        prompt,
        reads_prompt: set.reads_prompt,
    };
    let bar = bar(console, files.len() * set.scorers.len(), "scores");
    let mut rows = Vec::with_capacity(files.len());
    while rows.len() < files.len() {
        rows.extend(job.score(&files[rows.len()..], &bar)?);
    }
    bar.finish_and_clear();
    job.warn_of_cut_prompts(&rows, console)?;
    let all_scored = rows.iter().all(|row| row.scored.is_ok());
    if console.json {
        let lines: Vec<String> = rows.iter().map(|row| job.json(row).to_string()).collect();
        console.result(&lines.join("\n"))?;
    } else if rows.iter().any(|row| row.scored.is_ok()) {
        console.result(&(job.table(&rows).to_string() + &wrong_answers(&rows)))?;
    }
    // Below the table, where they are seen
    for error in rows.iter().filter_map(|row| row.scored.as_ref().err()) {
        console.error(error);
    }
    Ok(if all_scored { 0 } else { REFUSED })
}

/// Images get the score of each scorer, so weights mean nothing here.
fn refuse_weights(mix: Option<&ScorerMix>) -> Result<()> {
    let mut scorers = mix.into_iter().flat_map(ScorerMix::scorers);
    let Some((name, weight)) = scorers.find(|(_, weight)| *weight != 1.0) else {
        return Ok(());
    };
    Err(Error::input(format!(
        "`{name}={weight}`: images get the score of each scorer, not a mix"
    ))
    .with_hint("leave the weights out; `ttsvar generate` searches with mixes"))
}

/// The given files, with folders replaced by the images in them. Warns about images in formats that
/// cannot be read.
fn image_files(given: &[PathBuf], console: &Console) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let found = ImageFolder::read(path)?;
        let left_out = found.left_out(path);
        if found.images.is_empty() {
            let message = match &left_out {
                Some(fault) => format!("contains no images that can be read ({fault})"),
                None => "contains no images".to_owned(),
            };
            return Err(Error::file(path, message).with_hint(READABLE));
        }
        if let Some(fault) = left_out {
            console.warn(&fault, Some(image::CONVERT));
        }
        files.extend(found.images);
    }
    Ok(files)
}

/// The scorers and the prompt of a run.
struct ScoreJob<'a> {
    scorers: &'a [ScorerWithQuestions<'a>],
    /// One prompt for all images; `None` where each image has its own.
    prompt: Option<&'a str>,
    /// Whether any of the scorers reads the prompt.
    reads_prompt: bool,
}

/// The result for one image.
struct Row {
    file: PathBuf,
    scored: Result<Scored>,
}

struct Scored {
    prompt: String,
    /// One score per scorer.
    scores: Vec<f32>,
    /// The answers of each scorer to questions; empty for those that were asked none.
    answers: Vec<Vec<AnsweredQuestion>>,
}

impl ScoreJob<'_> {
    /// Scores the first of these files, as many as memory should hold at once; those with the same
    /// prompt run through the networks in one batch.
    fn score(&self, files: &[PathBuf], bar: &ProgressBar) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = vec![];
        let mut batches: BTreeMap<String, (Vec<usize>, Vec<Image>)> = BTreeMap::new();
        let mut pixels = 0;
        for file in files.iter().take(CHUNK) {
            let scored = match self.read(file) {
                Ok((image, scored)) => {
                    pixels += image.width() * image.height();
                    let (places, images) = batches.entry(scored.prompt.clone()).or_default();
                    places.push(rows.len());
                    images.push(image);
                    Ok(scored)
                }
                Err(error) => {
                    bar.inc(self.scorers.len() as u64);
                    Err(error)
                }
            };
            rows.push(Row {
                file: file.clone(),
                scored,
            });
            if pixels >= MAX_PIXELS {
                break;
            }
        }
        for (prompt, (places, images)) in &batches {
            for scorer in self.scorers {
                let found = scorer.score_with_answers(prompt, images)?;
                bar.inc(images.len() as u64);
                for (place, row) in places.iter().enumerate() {
                    if let Ok(scored) = &mut rows[*row].scored {
                        scored.scores.extend(found.scores.get(place));
                        scored.answers.push(found.of_image(place));
                    }
                }
            }
        }
        Ok(rows)
    }

    /// An image and the prompt that it is scored for.
    fn read(&self, file: &Path) -> Result<(Image, Scored)> {
        let (image, prompt) = match self.prompt {
            Some(prompt) => (image::open(file)?, prompt.to_owned()),
            None if !self.reads_prompt => (image::open(file)?, String::new()),
            None => with_recorded_prompt(file)?,
        };
        if image.pixels().is_empty() {
            return Err(Error::file(file, "an image without pixels"));
        }
        let scored = Scored {
            prompt,
            scores: vec![],
            answers: vec![],
        };
        Ok((image, scored))
    }

    /// Warns of prompts that a scorer does not read to their end, once for each.
    fn warn_of_cut_prompts(&self, rows: &[Row], console: &Console) -> Result<()> {
        let scored = rows.iter().filter_map(|row| row.scored.as_ref().ok());
        let prompts: BTreeSet<&str> = scored.map(|scored| scored.prompt.as_str()).collect();
        let mut seen = vec![];
        for prompt in prompts {
            for scorer in self.scorers {
                let Some(reader) = scorer.prompt_reader() else {
                    continue;
                };
                if let Some(warning) = reader.check(prompt, false)?
                    && !seen.contains(&warning)
                {
                    console.warn(&warning.to_string(), Some(&warning.advice()));
                    seen.push(warning);
                }
            }
        }
        Ok(())
    }

    fn json(&self, row: &Row) -> Value {
        let file = row.file.display().to_string();
        let scored = match &row.scored {
            Ok(scored) => scored,
            Err(error) => return json!({ "file": file, "error": error.to_string() }),
        };
        let mut scores = Map::new();
        for (one, score) in self.scorers.iter().zip(&scored.scores) {
            scores.insert(one.scorer.name.clone(), number::to_json(*score));
        }
        let mut line = json!({ "file": file, "prompt": scored.prompt, "scores": scores });
        let mut answers = Map::new();
        for (one, given) in self.scorers.iter().zip(&scored.answers) {
            if !given.is_empty() {
                answers.insert(one.scorer.name.clone(), json!(given));
            }
        }
        if !answers.is_empty() {
            line["answers"] = Value::Object(answers);
        }
        line
    }

    /// One row per image; with the prompts where each image has its own.
    fn table(&self, rows: &[Row]) -> Table {
        let prompts = self.prompt.is_none() && self.reads_prompt;
        let mut heads = vec![("image", Align::Left)];
        for one in self.scorers {
            heads.push((one.scorer.name.as_str(), Align::Right));
        }
        if prompts {
            heads.push(("prompt", Align::Left));
        }
        let mut table = Table::with_columns(heads);
        for row in rows {
            let mut cells = vec![quoting::path(&row.file)];
            match &row.scored {
                Ok(scored) => {
                    cells.extend(scored.scores.iter().map(|score| format!("{score:.4}")));
                    cells.extend(prompts.then(|| scored.prompt.clone()));
                }
                Err(_) => {
                    cells.extend(self.scorers.iter().map(|_| "-".to_owned()));
                    cells.extend(prompts.then(String::new));
                }
            }
            table.cells(cells);
        }
        table
    }
}

/// What is wrong with each image, according to the answers about it.
fn wrong_answers(rows: &[Row]) -> String {
    let mut lines = String::new();
    for row in rows {
        let answers = row.scored.iter().flat_map(|scored| &scored.answers);
        for wrong in answers.flatten().filter(|answer| answer.is_wrong()) {
            let wrong = quoting::line(&wrong.to_string());
            lines += &format!("\n{}: {wrong}", quoting::path(&row.file));
        }
    }
    lines
}

/// An image with the prompt that it records, which only a PNG can.
fn with_recorded_prompt(file: &Path) -> Result<(Image, String)> {
    let png = match content_of(file)? {
        Content::Image(Format::Png) => Png::open(file)?,
        _ => Png::new(image::open(file)?),
    };
    match Origin::find(file, &png)? {
        Some(origin) => Ok((png.image, origin.into_prompt())),
        None => Err(Error::file(file, "does not record a prompt")
            .with_hint("give one: --prompt \"a red circle\"")),
    }
}
