//! Brings released files from Hugging Face into a folder, in the layout of its cache, where
//! [`catalog`](super::catalog) finds them: `models--OWNER--NAME/snapshots/...`. Interrupted
//! downloads are resumed, and files are checked.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
    thread,
    time::Duration,
};

use hf_hub::{Cache, CacheRepo};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    blob::Folder,
    catalog::{Entry, Source},
    checkpoint::{INDEX, is_index},
    client::{Answer, Client, RequestError},
};
use crate::{Error, Result};

/// How often a download that broke off goes on by itself.
const RESUMES: usize = 3;

/// The pause before it goes on.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes that the description of a repository has at most.
const MOST_DESCRIPTION: usize = 64 << 20;

/// Receives the progress of a download.
pub trait Progress {
    /// A file of `bytes` bytes begins; a second call begins it anew.
    ///
    /// # Errors
    /// An error ends the download, which can be resumed.
    fn begin(&mut self, file: &str, bytes: u64) -> Result<()>;
    /// `bytes` more bytes have arrived; those of an earlier attempt are reported at once.
    ///
    /// # Errors
    /// As [`Progress::begin`].
    fn came(&mut self, bytes: u64) -> Result<()>;
    /// A file of `entry` is in `place`.
    ///
    /// # Errors
    /// As [`Progress::begin`].
    fn arrived(&mut self, entry: &Entry, file: &str, place: &Path) -> Result<()>;
}

/// The folder in which Hugging Face's own tools keep what they downloaded.
pub fn usual_folder() -> PathBuf {
    match std::env::var_os("HF_HUB_CACHE") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => Cache::from_env().path().clone(),
    }
}

/// A connection to Hugging Face, or to what the variable `HF_ENDPOINT` names.
pub struct Hub {
    client: Client,
    cache: Cache,
    /// The folder as the caller named it.
    folder: PathBuf,
}

/// A repository's answer on its files.
#[derive(Deserialize)]
struct RepositoryInfo {
    /// The commit that they belong to.
    sha: String,
    siblings: Vec<RepositoryFile>,
}

#[derive(Deserialize)]
struct RepositoryFile {
    rfilename: String,
}

/// The files of an entry in one revision of its repository.
struct Revision {
    repository: String,
    commit: String,
    files: Vec<String>,
}

/// What a repository announces of a file.
struct Announced {
    etag: String,
    bytes: u64,
}

/// A file on its way.
struct Download<'d> {
    /// Its path on the server.
    path: String,
    /// Where the bytes that came are.
    begun: &'d Path,
    /// Its name in the repository, for progress.
    file: &'d str,
    /// All of its bytes.
    bytes: u64,
}

impl Hub {
    /// Prepares a connection without any request. Files go below `folder`, which is created when
    /// the first one comes.
    ///
    /// # Errors
    /// The connection cannot be set up.
    pub fn new(folder: &Path) -> Result<Self> {
        let absolute = std::path::absolute(folder).map_err(Error::io(folder))?;
        Ok(Self {
            client: Client::from_env()?,
            cache: Cache::new(absolute),
            folder: folder.to_owned(),
        })
    }

    /// Downloads all files of an entry, unless they exist already. All of them are of the revision that
    /// the repository has at the beginning, and it counts as the current one once all are there.
    ///
    /// # Errors
    /// The entry is not on Hugging Face, or a download fails.
    pub fn fetch_all(&self, entry: &Entry, progress: &mut dyn Progress) -> Result<()> {
        if let Source::Elsewhere(place) = entry.source {
            return Err(self.elsewhere(entry, place));
        }
        let revision = self.revision(entry)?;
        for file in &revision.files {
            let place = self.fetch(entry, &revision, file, progress)?;
            progress.arrived(entry, file, &place)?;
        }
        let local = self.cache.model(revision.repository);
        let marked = local.create_ref(&revision.commit);
        marked.map_err(Error::io(&self.folder))
    }

    /// The error for an entry that is not on Hugging Face.
    fn elsewhere(&self, entry: &Entry, place: &str) -> Error {
        let presence = entry.presence(&Folder::Disk(self.cache.path().clone()));
        let missing = presence.iter().filter(|file| file.found.is_none());
        let missing: Vec<&str> = missing.map(|file| file.file.as_str()).collect();
        let message = format!("is not on Hugging Face; it is published by {place}");
        Error::input(message).with_hint(format!(
            "download {} there and put what you downloaded into {} or its sub-folder `{}`",
            missing.join(", "),
            self.folder.display(),
            entry.name
        ))
    }

    /// The files of an entry as its repository has them now: of alternatives the first, of shards and
    /// folders all.
    ///
    /// # Errors
    /// The entry is not on Hugging Face, the repository cannot be asked, or lacks a file.
    fn revision(&self, entry: &Entry) -> Result<Revision> {
        let repository = repository(entry)?;
        let path = format!("api/models/{repository}/revision/main");
        let answer = self.client.get(&path, None);
        let body = answer.and_then(|answer| answer.into_body().all(MOST_DESCRIPTION));
        let body = body.map_err(|error| refused(entry, &error))?;
        let unexpected = |what| refused(entry, &RequestError::Broken(what));
        let info: RepositoryInfo = serde_json::from_slice(&body)
            .map_err(|error| unexpected(format!("unexpected response: {error}")))?;
        if !stays(&info.sha) || info.sha.contains(['/', '\\']) {
            let name = info.sha.escape_debug();
            return Err(unexpected(format!("`{name}` is not the name of a commit")));
        }
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
        Ok(Revision {
            repository,
            commit: info.sha,
            files,
        })
    }

    /// Downloads one of these files, unless it exists already, and returns its path.
    ///
    /// # Errors
    /// The download fails, or the file does not match its announced size or checksum.
    fn fetch(
        &self,
        entry: &Entry,
        revision: &Revision,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf> {
        let Revision {
            repository, commit, ..
        } = revision;
        let path = format!("{repository}/resolve/{commit}/{}", percent_encoded(file));
        let local = self.cache.model(repository.clone());
        let about = self.announced(entry, &path)?;
        if !stays(&about.etag) {
            return Err(Error::input(format!(
                "{}: the name `{file}` points outside the repository",
                entry.source
            )));
        }
        let place = local.pointer_path(commit).join(file);
        if has(&place, about.bytes) {
            return Ok(place);
        }
        let blob = blob_path(&local, commit, &about.etag);
        create_parent(&blob)?;
        // Another process may have downloaded the file, and even linked it, until the lock is ours.
        let _lock = lock(&blob)?;
        if has(&place, about.bytes) {
            return Ok(place);
        }
        if !has(&blob, about.bytes) {
            let begun = blob.with_extension("part");
            let download = Download {
                path,
                begun: &begun,
                file,
                bytes: about.bytes,
            };
            self.download(entry, &download, progress)?;
            if !has(&begun, about.bytes) || !sum_fits(&begun, &about.etag)? {
                let _ = fs::remove_file(&begun); // it would be resumed
                return Err(Error::file(&blob, "was not downloaded completely")
                    .with_hint("run the command again"));
            }
            fs::rename(&begun, &blob).map_err(Error::io(&blob))?;
        }
        link(&place, file, &blob)?;
        Ok(place)
    }

    /// Asks for the size and the sum of a file.
    fn announced(&self, entry: &Entry, path: &str) -> Result<Announced> {
        let answer = self.client.get(path, Some("bytes=0-0"));
        let answer = answer.map_err(|error| refused(entry, &error))?;
        let header = |name: &str| {
            let value = answer.headers.get(name)?.to_str().ok()?;
            Some(value.trim_start_matches("W/").replace('"', ""))
        };
        let missing = |name| refused(entry, &RequestError::Broken(format!("no {name} came")));
        let etag = header("x-linked-etag").or_else(|| header("etag"));
        Ok(Announced {
            etag: etag.ok_or_else(|| missing("checksum"))?,
            bytes: announced_bytes(&answer).ok_or_else(|| missing("size"))?,
        })
    }

    /// Downloads a file, or the rest of it if it was begun. Goes on by itself a few times if the
    /// connection breaks off.
    fn download(
        &self,
        entry: &Entry,
        download: &Download<'_>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let Download { begun, bytes, .. } = *download;
        let mut out = OpenOptions::new()
            .append(true)
            .create(true)
            .open(begun)
            .map_err(Error::io(begun))?;
        let mut resumes = 0;
        loop {
            let mut start = out.metadata().map_err(Error::io(begun))?.len();
            if start == bytes {
                return Ok(());
            }
            if start > bytes {
                out.set_len(0).map_err(Error::io(begun))?; // begun for something else
                start = 0;
            }
            progress.begin(download.file, bytes)?;
            match self.download_rest(download, start, &mut out, progress)? {
                Ok(()) => return Ok(()),
                Err(RequestError::Broken(_)) if resumes < RESUMES => {
                    resumes += 1;
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(refused(entry, &error)),
            }
        }
    }

    /// Downloads a file from byte `start` on. The inner error is one of the connection.
    fn download_rest(
        &self,
        download: &Download<'_>,
        start: u64,
        out: &mut File,
        progress: &mut dyn Progress,
    ) -> Result<Result<(), RequestError>> {
        let Download { begun, bytes, .. } = *download;
        let range = format!("bytes={start}-");
        let answer = match self.client.get(&download.path, Some(&range)) {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        let mut came = 0;
        if answer.response.headers().contains_key("content-range") {
            came = start;
            progress.came(start)?;
        } else {
            out.set_len(0).map_err(Error::io(begun))?; // everything is sent again
        }
        let broken = |message: &str| Ok(Err(RequestError::Broken(message.to_owned())));
        let mut body = answer.into_body();
        loop {
            match body.next_part() {
                Ok(Some(part)) => {
                    came += part.len() as u64;
                    if came > bytes {
                        return broken("more bytes came than were announced");
                    }
                    out.write_all(&part).map_err(Error::io(begun))?;
                    progress.came(part.len() as u64)?;
                }
                Ok(None) if came < bytes => return broken("the answer ended too early"),
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

/// The size of a file in the answer to a request for its first byte.
fn announced_bytes(answer: &Answer) -> Option<u64> {
    let range = answer.response.headers().get("content-range")?;
    range.to_str().ok()?.rsplit('/').next()?.parse().ok()
}

/// The place of a file's bytes, beside the folder `snapshots`.
fn blob_path(local: &CacheRepo, commit: &str, etag: &str) -> PathBuf {
    let snapshot = local.pointer_path(commit);
    let repository = snapshot.ancestors().nth(2).unwrap_or(&snapshot);
    repository.join("blobs").join(etag)
}

/// Returns whether a file is there with this size.
fn has(path: &Path, bytes: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == bytes)
}

/// Shows a downloaded file in the snapshot of its commit, where its name is `file`.
fn link(place: &Path, file: &str, blob: &Path) -> Result<()> {
    create_parent(place)?;
    let _ = fs::remove_file(place); // a link whose file is gone
    #[cfg(unix)]
    {
        let up = "../".repeat(2 + file.matches('/').count());
        let blob = blob.file_name().unwrap_or_default().to_string_lossy();
        let target = format!("{up}blobs/{blob}");
        std::os::unix::fs::symlink(target, place).map_err(Error::io(place))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        fs::rename(blob, place).map_err(Error::io(place))
    }
}

/// Locks a file that is being downloaded against other processes of this program. Hugging Face's own
/// tools have locks of another kind, in the folder `.locks`, and do not look at this one.
fn lock(blob: &Path) -> Result<File> {
    let path = blob.with_extension("lock");
    let file = File::create(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(
            &path,
            "another process is downloading this file",
        )
        .with_hint("wait until it is done, then run the command again")),
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}

fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))
}

/// A name as part of an address.
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
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
/// files of a folder. An index comes last: where it is, a download is most likely complete.
fn files_for_name(name: &str, there: &[String]) -> Vec<String> {
    let below = format!("{name}/");
    if !there.iter().any(|file| file == name) {
        let files = there.iter().filter(|file| file.starts_with(&below));
        let mut files: Vec<String> = files.cloned().collect();
        files.sort_by_key(|file| is_index(file.as_ref()));
        return files;
    }
    let shard = |file: &&String| {
        let (stem, end) = name.strip_suffix(INDEX)?.rsplit_once('.')?;
        file.strip_prefix(stem)?
            .strip_prefix('-')?
            .strip_suffix(end)?
            .contains("-of-")
            .then_some(())
    };
    let shards = there.iter().filter(|file| shard(file).is_some());
    shards
        .cloned()
        .chain(std::iter::once(name.to_owned()))
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
    let mut open = File::open(file).map_err(Error::io(file))?;
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
fn refused(entry: &Entry, error: &RequestError) -> Error {
    let names: Vec<&str> = entry
        .files
        .iter()
        .filter_map(|names| names.first().copied())
        .collect();
    let by_hand = format!(
        "download {} manually into a sub-folder `{}` of the --weights folder",
        names.join(", "),
        entry.name
    );
    let again = format!("run the command again, which resumes the download; or {by_hand}");
    let source = entry.source;
    match error {
        RequestError::Offline => Error::input(format!(
            "{source} was not contacted: HF_HUB_OFFLINE forbids downloads"
        ))
        .with_hint(format!("unset HF_HUB_OFFLINE, or {by_hand}")),
        RequestError::Status { status, token } => {
            let hint = match (status, token) {
                (401 | 403, true) => format!(
                    "the token is not valid or has no access: accept the terms on the page of the \
                     repository, or {by_hand}"
                ),
                (401 | 403, false) => {
                    format!("set HF_TOKEN to a token that has access, or {by_hand}")
                }
                (429 | 500.., _) => again,
                _ => by_hand,
            };
            Error::input(format!("{source} answered {status}")).with_hint(hint)
        }
        RequestError::Broken(what) => {
            let what = what.replace('\n', " ");
            Error::input(format!("{source} cannot be reached: {what}")).with_hint(again)
        }
    }
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
            "weights/a.index.json",
            "weights/b.json",
            "weights/z.safetensors",
        ];
        let there: Vec<String> = there.iter().chain(&more).map(ToString::to_string).collect();
        assert_eq!(files_for_name("config.json", &there), ["config.json"]);
        let index = "model.safetensors.index.json";
        let shards = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        assert_eq!(
            files_for_name(index, &there),
            [&shards[..], &[index]].concat()
        );
        let folder = [
            "weights/b.json",
            "weights/z.safetensors",
            "weights/a.index.json",
        ];
        assert_eq!(files_for_name("weights", &there), folder);
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
