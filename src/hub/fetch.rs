//! Brings released files from Hugging Face into a folder, in the layout of its cache, where
//! [`catalog`](super::catalog) finds them: `models--OWNER--NAME/snapshots/...`. Interrupted
//! downloads are resumed, and files are checked.

use std::{
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use hf_hub::{
    Cache,
    api::sync::{Api, ApiBuilder, ApiError},
};
use sha2::{Digest, Sha256};

use super::catalog::{Entry, Source};
use crate::{Error, Result};

/// Receives the progress of a download.
pub trait Progress {
    /// A file of `bytes` bytes begins; a second call begins it anew.
    fn begin(&mut self, file: &str, bytes: u64);
    /// `bytes` more bytes have arrived; those of an earlier attempt are reported at once.
    fn came(&mut self, bytes: u64);
}

/// The folder in which Hugging Face's own tools keep what they downloaded.
pub fn usual_folder() -> PathBuf {
    Cache::from_env().path().clone()
}

/// A connection to Hugging Face, or to what the variable `HF_ENDPOINT` names.
pub struct Hub {
    api: Api,
    cache: Cache,
}

impl Hub {
    /// Prepares a connection without any request. Files go below `folder`, which is created when
    /// the first one comes.
    ///
    /// # Errors
    /// The connection cannot be set up.
    pub fn new(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder).map_err(Error::io(folder))?;
        let api = ApiBuilder::from_env()
            .with_cache_dir(folder.clone())
            .with_progress(false)
            .build();
        let api =
            api.map_err(|error| Error::input(format!("no connection can be set up: {error}")))?;
        Ok(Self {
            api,
            cache: Cache::new(folder),
        })
    }

    /// The files of an entry as its repository has them: of alternatives the first, of shards and
    /// folders all.
    ///
    /// # Errors
    /// The entry is not on Hugging Face, the repository cannot be asked, or lacks a file.
    pub fn files(&self, entry: &Entry) -> Result<Vec<String>> {
        let info = self
            .api
            .model(repository(entry)?)
            .info()
            .map_err(|error| refused(entry, &error))?;
        let there: Vec<String> = info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .filter(|name| stays(name))
            .collect();
        let mut files = vec![];
        for names in entry.files {
            let found = names
                .iter()
                .map(|name| files_for_name(name, &there))
                .find(|found| !found.is_empty());
            files.extend(found.ok_or_else(|| {
                Error::input(format!("{} has no {}", entry.source, names.join(" or ")))
                    .with_hint("the files may have been moved; download them by hand")
            })?);
        }
        Ok(files)
    }

    /// Downloads one of these files, unless it exists already, and returns its path.
    ///
    /// # Errors
    /// The download fails, or the file does not match its announced size or checksum.
    pub fn fetch(&self, entry: &Entry, file: &str, progress: &mut dyn Progress) -> Result<PathBuf> {
        let name = repository(entry)?;
        let remote = self.api.model(name.clone());
        let local = self.cache.model(name);
        let failed = |error: ApiError| refused(entry, &error);
        let about = self.api.metadata(&remote.url(file)).map_err(failed)?;
        if ![about.etag(), about.commit_hash()].into_iter().all(stays) {
            return Err(Error::input(format!(
                "{}: `{file}` has a name that leads elsewhere",
                entry.source
            )));
        }
        let has =
            |place: &Path, bytes: u64| fs::metadata(place).is_ok_and(|found| found.len() >= bytes);
        let bytes = about.size() as u64;
        if let Some(place) = local.get(file).filter(|place| has(place, bytes)) {
            return Ok(place);
        }
        // A complete partial file would lead to a request for zero bytes, which servers refuse.
        let begun = local.blob_path(about.etag()).with_extension("part");
        if has(&begun, bytes) {
            fs::remove_file(&begun).map_err(Error::io(&begun))?;
        }
        let place = remote
            .download_with_progress(file, ProgressAdapter { file, progress })
            .map_err(failed)?;
        let size = fs::metadata(&place).map_err(Error::io(&place))?.len();
        if size != bytes || !sum_fits(&place, about.etag())? {
            for damaged in [
                place.canonicalize().unwrap_or_else(|_| place.clone()),
                place.clone(),
            ] {
                let _ = fs::remove_file(damaged); // it may be gone with the other
            }
            return Err(Error::file(&place, "did not arrive whole").with_hint("fetch it again"));
        }
        Ok(place)
    }
}

/// The repository of an entry.
fn repository(entry: &Entry) -> Result<String> {
    match entry.source {
        Source::HuggingFace(name) => Ok(name.to_owned()),
        Source::Elsewhere(place) => Err(Error::input(format!(
            "{} is not on Hugging Face, but at {place}",
            entry.name
        ))),
    }
}

/// The existing files that belong to a name: the file itself and, for an index, its shards; or all
/// files of a folder.
fn files_for_name(name: &str, there: &[String]) -> Vec<String> {
    let below = format!("{name}/");
    if !there.iter().any(|file| file == name) {
        return there
            .iter()
            .filter(|file| file.starts_with(&below))
            .cloned()
            .collect();
    }
    let shard = |file: &&String| {
        let (stem, end) = name.strip_suffix(".index.json")?.rsplit_once('.')?;
        file.strip_prefix(stem)?
            .strip_prefix('-')?
            .strip_suffix(end)?
            .contains("-of-")
            .then_some(())
    };
    let shards = there.iter().filter(|file| shard(file).is_some());
    std::iter::once(name.to_owned())
        .chain(shards.cloned())
        .collect()
}

/// Returns whether a name stays inside its folder.
fn stays(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Large files are announced with their SHA-256, small ones with a sum of another kind, which is
/// not checked.
fn sum_fits(file: &Path, announced: &str) -> Result<bool> {
    const LENGTH: usize = 64; // of a SHA-256 in hexadecimal digits
    if announced.len() != LENGTH || !announced.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(true);
    }
    let mut sum = Sha256::new();
    let mut open = fs::File::open(file).map_err(Error::io(file))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match open.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => sum.update(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(file)(error)),
        }
    }
    let found: String = sum
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(found == announced.to_lowercase())
}

/// The error for a failed request to Hugging Face, in one line.
fn refused(entry: &Entry, error: &ApiError) -> Error {
    let said = error.to_string().replace('\n', " ");
    let said = said
        .strip_prefix("request error: ")
        .unwrap_or(&said)
        .to_owned();
    let names: Vec<&str> = entry
        .files
        .iter()
        .filter_map(|names| names.first().copied())
        .collect();
    Error::input(format!("{} cannot be reached: {said}", entry.source)).with_hint(format!(
        "download {} by other means and put it into a sub-folder `{}` of the folder for --weights",
        names.join(", "),
        entry.name
    ))
}

/// Passes the library's reports on. When it resumes, it announces the file again and reports all
/// earlier bytes at once.
struct ProgressAdapter<'a> {
    file: &'a str,
    progress: &'a mut dyn Progress,
}

impl hf_hub::api::Progress for ProgressAdapter<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.progress.begin(self.file, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.progress.came(size as u64);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_a_file_its_shards_or_a_folder() {
        let there = [
            "config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
        ];
        let more = [
            "model-00002-of-00002.safetensors",
            "model-x.bin",
            "weights/a.safetensors",
            "weights/b.json",
        ];
        let there: Vec<String> = there.iter().chain(&more).map(ToString::to_string).collect();
        assert_eq!(files_for_name("config.json", &there), ["config.json"]);
        assert_eq!(
            files_for_name("model.safetensors.index.json", &there).len(),
            3
        );
        assert_eq!(
            files_for_name("weights", &there),
            ["weights/a.safetensors", "weights/b.json"]
        );
        assert!(
            files_for_name("model", &there).is_empty()
                && files_for_name("none.pth", &there).is_empty()
        );
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_recognised() {
        assert!(stays("a/b.json") && stays("0123abcd"));
        assert!(
            !["", "/etc/passwd", "../a", "a/../../b", "./a/.."]
                .into_iter()
                .any(stays)
        );
    }
}
