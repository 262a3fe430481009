//! The results of an evaluation over N, for other programs: a table in CSV, and event files of
//! TensorBoard.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use super::event_file::{self, Scalar};
use crate::{
    Error, Result,
    eval::{MethodSummary, ResultRecord, Summary},
    file,
};

/// The folder of the event files within that of an evaluation.
const FOLDER: &str = "tensorboard";

/// The numbers of a contender, by the names of columns.
fn numbers(summary: &Summary, row: &MethodSummary) -> Vec<(String, Option<f64>)> {
    let named = |name: &str, number: f64| (name.to_owned(), Some(number));
    let mut numbers = vec![
        named("overall", row.overall),
        named("overall/low", row.interval.0),
        named("overall/high", row.interval.1),
    ];
    numbers.extend(
        summary
            .tasks
            .iter()
            .map(|task| (format!("task/{task}"), row.of_task(task))),
    );
    numbers.push(("score".to_owned(), row.score));
    for scorer in &summary.held_out {
        numbers.push((format!("held_out/{scorer}"), row.of_held_out(scorer)));
    }
    let cost = &row.cost;
    numbers.extend([
        named("cost/images", cost.images),
        named("cost/flops", cost.flops),
        named("cost/decodes", cost.decodes),
        named("cost/readings", cost.readings),
        named("cost/seconds", cost.seconds),
    ]);
    for cost in &row.model_costs {
        let name = format!("cost/raw_images/{}", cost.cost_model);
        numbers.push((name, cost.raw_images));
    }
    numbers
}

/// One line per contender: its method, N, and results. What was not measured is empty.
pub fn csv(summary: &Summary) -> String {
    let mut lines = vec![];
    for row in &summary.methods {
        let numbers = numbers(summary, row);
        if lines.is_empty() {
            let names = numbers.iter().map(|(name, _)| field(name));
            let heads = ["method", "n", "evaluated", "missing"].map(str::to_owned);
            lines.push(heads.into_iter().chain(names).collect::<Vec<_>>().join(","));
        }
        let counts = [row.n, row.images, row.missing].map(|count| count.to_string());
        let values = numbers
            .iter()
            .map(|(_, number)| number.map_or(String::new(), |number| number.to_string()));
        let line = std::iter::once(field(&row.method))
            .chain(counts)
            .chain(values);
        lines.push(line.collect::<Vec<_>>().join(","));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A field of CSV, in quotes where it needs them.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// Writes an event file for each method, in which N is the step.
///
/// # Errors
/// A file cannot be written.
pub fn write_events(summary: &Summary, folder: &Path) -> Result<()> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for row in &summary.methods {
        let file = files
            .entry(run_name(&row.method))
            .or_insert_with(event_file::head);
        for (tag, value) in numbers(summary, row) {
            let step = row.n;
            if let Some(value) = value {
                file.extend(event_file::scalar(&Scalar { tag, step, value }));
            }
        }
    }
    for (method, bytes) in files {
        let path = event_path(folder, &format!("by-n/{method}"))?;
        file::replace(&path, &bytes).map_err(Error::io(&path))?;
    }
    Ok(())
}

/// The name of a contender as that of a folder. Different names remain different.
fn run_name(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_ ".contains(&byte);
    name.bytes()
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// The path of an event file, whose folder is created.
fn event_path(folder: &Path, run: &str) -> Result<PathBuf> {
    let folder = folder.join(FOLDER).join(run);
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    Ok(folder.join(event_file::NAME))
}

/// The mean verdict of each contender so far, in an event file of its own while an evaluation runs.
pub struct Progress {
    folder: PathBuf,
    runs: BTreeMap<(String, usize), Run>,
}

struct Run {
    path: PathBuf,
    file: File,
    images: usize,
    sum: f64,
}

impl Progress {
    /// Begins the files anew, with the records that are known.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn start(folder: &Path, known: &[ResultRecord]) -> Result<Self> {
        let mut progress = Self {
            folder: folder.to_owned(),
            runs: BTreeMap::new(),
        };
        known.iter().try_for_each(|record| progress.add(record))?;
        Ok(progress)
    }

    /// Adds the mean verdict after one more image.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn add(&mut self, record: &ResultRecord) -> Result<()> {
        let key = (record.method.clone(), record.n);
        if !self.runs.contains_key(&key) {
            let run = format!("progress/{}-{}", run_name(&record.method), record.n);
            self.runs
                .insert(key.clone(), Run::start(&self.folder, &run)?);
        }
        match self.runs.get_mut(&key) {
            Some(run) => run.add(record.correct),
            None => Ok(()),
        }
    }
}

impl Run {
    fn start(folder: &Path, name: &str) -> Result<Self> {
        let path = event_path(folder, name)?;
        let mut file = File::create(&path).map_err(Error::io(&path))?;
        file.write_all(&event_file::head())
            .map_err(Error::io(&path))?;
        Ok(Self {
            path,
            file,
            images: 0,
            sum: 0.0,
        })
    }

    fn add(&mut self, verdict: f64) -> Result<()> {
        self.images += 1;
        self.sum += verdict;
        let scalar = Scalar {
            tag: "mean verdict so far".to_owned(),
            step: self.images,
            value: self.sum / self.images as f64,
        };
        self.file
            .write_all(&event_file::scalar(&scalar))
            .map_err(Error::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_contenders_become_folders_and_fields() {
        assert_eq!(run_name("tts-var 2"), "tts-var 2");
        assert_eq!(run_name("../ä"), "%2E%2E%2F%C3%A4");
        assert_eq!(field("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(field("best-of-n"), "best-of-n");
    }
}
