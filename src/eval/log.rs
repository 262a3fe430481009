//! The folder of an evaluation: what was asked for, and a line for every image that has been
//! judged. A run that was cut short, at any moment, goes on from there.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Contender, ResultRecord};
use crate::{Error, Result, file};

/// The format of `setup.json` and the lines beside it.
pub const SCHEMA: &str = "ttsvar.eval/1";

/// What an evaluation was asked to do. Two runs with the same setup give the same verdicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// The suite and how its prompts were chosen.
    pub suite: Map<String, Value>,
    /// Tries with every prompt.
    pub samples: usize,
    /// The seed that those of the tries come from.
    pub seed: u64,
    /// What the generator was set to.
    pub settings: Map<String, Value>,
    /// Who competes, or did when this was begun.
    pub contenders: Vec<Contender>,
    /// Where the pictures of contenders lie that were made elsewhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pictures: BTreeMap<String, PathBuf>,
}

/// An open folder.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    records: Vec<ResultRecord>,
    lines: File,
}

/// Name of the file with a line for every image.
const RECORDS: &str = "records.jsonl";

/// Name of the file that says what was asked for.
const SETUP: &str = "setup.json";

impl Log {
    /// Begins in an empty or new folder, or goes on in one with the same setup if `resume` is
    /// wanted. Contenders may be added when going on; a line that was cut off is dropped.
    ///
    /// # Errors
    /// The folder holds another evaluation or one that should not be touched, or cannot be written
    /// to.
    pub fn open(folder: &Path, setup: &Setup, resume: bool) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let (setup_path, path) = (folder.join(SETUP), folder.join(RECORDS));
        let before: Option<Setup> = setup_path
            .exists()
            .then(|| read_setup(&setup_path))
            .transpose()?;
        let (mut all, resumed) = (setup.clone(), before.is_some());
        if let Some(before) = before {
            if !resume {
                return Err(Error::file(folder, "holds an evaluation already")
                    .with_hint("--resume goes on with it; or choose another folder"));
            }
            setup
                .continues(&before)
                .map_err(|what| differs(folder, what))?;
            all.join(before);
        }
        let text = serde_json::to_string_pretty(&all).expect("a setup is JSON");
        file::replace(&setup_path, text.as_bytes()).map_err(Error::io(&setup_path))?;
        let records = if resumed { read_lines(&path)? } else { vec![] };
        let lines = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        Ok(Self {
            folder: folder.to_owned(),
            records,
            lines,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that is known so far, in the order in which it was written.
    pub fn records(&self) -> &[ResultRecord] {
        &self.records
    }

    /// Writes a line.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn add(&mut self, record: ResultRecord) -> Result<()> {
        self.lines
            .write_all(lines_of(&[&record]).as_bytes())
            .map_err(Error::io(self.folder.join(RECORDS)))?;
        self.records.push(record);
        Ok(())
    }
}

impl Setup {
    /// What this version of the program is asked to do; `suite` names the prompts and how they were
    /// chosen, `settings` are the generator's.
    pub fn new(
        suite: Map<String, Value>,
        settings: Map<String, Value>,
        contenders: &[Contender],
        samples: usize,
        seed: u64,
    ) -> Self {
        let (schema, version) = (SCHEMA.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let pictures = BTreeMap::new();
        Self {
            schema,
            version,
            suite,
            samples,
            seed,
            settings,
            contenders: contenders.to_vec(),
            pictures,
        }
    }

    /// Adds everyone who competed `before`, since their lines stay.
    fn join(&mut self, before: Self) {
        for one in before.contenders {
            if !self.contenders.contains(&one) {
                self.contenders.push(one);
            }
        }
        self.pictures.extend(before.pictures); // of a name in both the folder is the same
    }

    /// Whether this goes on where `before` stopped; else what differs.
    fn continues(&self, before: &Self) -> Result<(), &'static str> {
        let clash = |one: &Contender| {
            before
                .contenders
                .iter()
                .any(|two| two.is(&one.method, one.n) && two != one)
        };
        let moved = |(name, path): (&String, &PathBuf)| {
            before.pictures.get(name).is_some_and(|old| old != path)
        };
        let differing = [
            (self.schema != before.schema, "format"),
            (self.version != before.version, "version of the program"),
            (self.suite != before.suite, "set of prompts"),
            (self.samples != before.samples, "number of samples"),
            (self.seed != before.seed, "seed"),
            (self.settings != before.settings, "model or its settings"),
            (self.contenders.iter().any(clash), "plan of a method"),
            (
                self.pictures.iter().any(moved),
                "folder of pictures under the same name",
            ),
        ];
        differing
            .iter()
            .find(|(differs, _)| *differs)
            .map_or(Ok(()), |(_, what)| Err(*what))
    }
}

fn differs(folder: &Path, what: &str) -> Error {
    Error::file(folder, format!("holds an evaluation with another {what}"))
        .with_hint("resume with the options that it was begun with, or choose another folder")
}

fn read_setup(path: &Path) -> Result<Setup> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::file(path, format!("is not the setup of an evaluation: {error}"))
            .with_hint("choose another folder")
    })
}

/// Adds lines to a file, which may be missing.
///
/// # Errors
/// The file cannot be written to.
pub(super) fn append_lines<T: Serialize>(path: &Path, values: &[T]) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io(path))?;
    file.write_all(lines_of(values).as_bytes())
        .map_err(Error::io(path))
}

fn lines_of<T: Serialize>(values: &[T]) -> String {
    values
        .iter()
        .map(|value| serde_json::to_string(value).expect("a record is JSON") + "\n")
        .collect()
}

/// The complete lines of a file, which may be missing; what follows the last line break is cut off.
///
/// # Errors
/// The file cannot be read or written, or a complete line is not what it should be.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if !path.exists() {
        return Ok(vec![]);
    }
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let whole = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < bytes.len() {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(Error::io(path))?;
        file.set_len(whole as u64).map_err(Error::io(path))?;
    }
    let lines = bytes[..whole]
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(i, line)| {
            serde_json::from_slice(line).map_err(|error| {
                Error::file(path, format!("line {}: {error}", i + 1))
                    .with_hint("remove that line, and resume")
            })
        })
        .collect()
}
