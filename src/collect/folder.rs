//! The folder of a collection: its settings, and one file per shard.

use std::{
    fs::{self, File},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CaptionedPrompt, LatentType, Sample, shard};
use crate::{Error, Result, eval::log::lock_folder, file};

/// The format of `collect.json` and the shards beside it.
pub const SCHEMA: &str = "ttsvar.collect/1";

/// Name of the file with the settings.
const SETTINGS: &str = "collect.json";

/// How the names of shards begin.
const SHARD: &str = "pairs-";

/// The request behind a collection. Two runs with the same settings write the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// Settings of the generator.
    pub settings: Map<String, Value>,
    /// The scorer whose scores are stored.
    pub scorer: String,
    /// The scales after which latents are stored, in ascending order.
    pub scales: Vec<usize>,
    /// The data type of stored latents.
    pub latents: LatentType,
    /// The block, counted from 1, whose output is stored with the latents; `None` for none.
    #[serde(default)]
    pub hidden_block: Option<usize>,
    /// Whether finished images are stored.
    pub images: bool,
    /// Samples per shard; the last one may have fewer.
    pub shard: usize,
    /// Samples per prompt.
    pub samples: usize,
    /// The seed of the first sample; each further one has the next seed.
    pub seed: u64,
    /// The prompts with their captions.
    pub prompts: Vec<CaptionedPrompt>,
}

impl Settings {
    /// The number of samples. The first sample of every prompt comes first.
    pub fn total(&self) -> usize {
        self.prompts.len() * self.samples
    }

    /// The prompt and the seed of a sample. The first samples have the seeds that `ttsvar generate`
    /// gives to the prompts of a list.
    pub(super) fn task(&self, index: usize) -> (&CaptionedPrompt, u64) {
        let prompt = &self.prompts[index % self.prompts.len()];
        (prompt, self.seed.wrapping_add(index as u64))
    }

    /// The samples of each shard.
    fn shards(&self) -> impl Iterator<Item = Range<usize>> {
        let total = self.total();
        let starts = (0..total).step_by(self.shard.max(1));
        starts.map(move |start| start..(start + self.shard).min(total))
    }

    /// The first difference from the settings of an earlier run, if any.
    fn difference(&self, before: &Self) -> Option<&'static str> {
        let differing = [
            (self.schema != before.schema, "format"),
            (self.version != before.version, "version of the program"),
            (self.settings != before.settings, "model or its settings"),
            (self.scorer != before.scorer, "scorer"),
            (self.scales != before.scales, "list of scales"),
            (self.latents != before.latents, "type of latents"),
            (self.hidden_block != before.hidden_block, "hidden block"),
            (self.images != before.images, "setting of --images"),
            (self.shard != before.shard, "number of samples per shard"),
            (
                self.samples != before.samples,
                "number of samples per prompt",
            ),
            (self.seed != before.seed, "seed"),
            (self.prompts != before.prompts, "list of prompts"),
        ];
        let found = differing.into_iter().find(|(differs, _)| *differs);
        found.map(|(_, what)| what)
    }
}

/// An open folder. While it is open, no other process can open it.
#[derive(Debug)]
pub struct CollectionFolder {
    folder: PathBuf,
    settings: Settings,
    missing: Vec<Range<usize>>,
    _lock: File,
}

impl CollectionFolder {
    /// Returns whether a folder holds a collection, perhaps an unfinished one.
    pub fn exists_in(folder: &Path) -> bool {
        folder.join(SETTINGS).exists()
    }

    /// Starts in an empty or new folder or, if `resume` is set, continues in one with the same
    /// settings.
    ///
    /// # Errors
    /// The folder holds another collection, or one and `resume` is not set, or a damaged shard;
    /// another process is using it; or it cannot be written to.
    pub fn open(folder: &Path, settings: &Settings, resume: bool) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let lock = lock_folder(folder, "is collecting in this folder")?;
        let path = folder.join(SETTINGS);
        match path.exists() {
            true => check_settings(folder, &path, settings, resume)?,
            false => {
                check_no_shards(folder)?;
                write_settings(&path, settings)?;
            }
        }
        remove_partial(folder)?;
        let mut missing = vec![];
        for range in settings.shards() {
            let path = folder.join(name(&range));
            match path.exists() {
                true => shard::check(settings, range, &path)?,
                false => missing.push(range),
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            settings: settings.clone(),
            missing,
            _lock: lock,
        })
    }

    /// The samples of the shards that were missing when the folder was opened.
    pub fn missing(&self) -> Vec<Range<usize>> {
        self.missing.clone()
    }

    /// The number of samples that the folder had when it was opened.
    pub fn done(&self) -> usize {
        let missing: usize = self.missing.iter().map(Range::len).sum();
        self.settings.total() - missing
    }

    /// Writes a shard and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, range: Range<usize>, samples: &[Sample]) -> Result<PathBuf> {
        let path = self.folder.join(name(&range));
        let bytes = shard::encode(&self.settings, range, samples)?;
        file::replace(&path, &bytes).map_err(Error::io(&path))?;
        Ok(path)
    }
}

/// The name of a shard: its first and last sample.
fn name(range: &Range<usize>) -> String {
    format!("{SHARD}{:08}-{:08}.safetensors", range.start, range.end - 1)
}

/// Checks that a folder with settings may be continued in.
fn check_settings(folder: &Path, path: &Path, settings: &Settings, resume: bool) -> Result<()> {
    if !resume {
        return Err(Error::file(folder, "already contains a collection")
            .with_hint("resume it with --resume, or choose another folder"));
    }
    let text = file::read_text(path)?;
    let before: Settings = serde_json::from_str(&text).map_err(|error| {
        Error::file(
            path,
            format!("expected the settings of a collection: {error}"),
        )
        .with_hint("choose another folder")
    })?;
    match settings.difference(&before) {
        Some(what) => Err(Error::file(
            folder,
            format!("contains a collection with a different {what}"),
        )
        .with_hint("resume with the original options, or choose another folder")),
        None => Ok(()),
    }
}

fn write_settings(path: &Path, settings: &Settings) -> Result<()> {
    let text = serde_json::to_string_pretty(settings).expect("settings are JSON");
    file::replace(path, text.as_bytes()).map_err(Error::io(path))
}

/// Checks that a folder without settings has no shards, of which nobody knows how they were made.
fn check_no_shards(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let file = entry.map_err(Error::io(folder))?.file_name();
        if file.to_string_lossy().starts_with(SHARD) {
            let message = format!(
                "has the shard {}, but no {SETTINGS} that says what it belongs to",
                file.display()
            );
            return Err(Error::file(folder, message)
                .with_hint(format!("restore {SETTINGS}, or choose another folder")));
        }
    }
    Ok(())
}

/// Removes the partial files that a kill has left behind.
fn remove_partial(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if file::is_partial(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
        }
    }
    Ok(())
}
