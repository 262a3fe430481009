//! Storage of jobs, images and traces: an SQLite index, and one folder of files per job.
//!
//! The files of a job are written completely before the index marks it as done. After a crash, the
//! next start therefore finds every finished image and knows which jobs were interrupted.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use ttsvar_search::{Trace, number};

use super::{request::SearchRequest, scheduler::JobResult};
use crate::{Error, Result, file, input, request::new_seed};

/// The winner.
pub(super) const IMAGE: &str = "image.png";
/// The record of the search.
pub(super) const TRACE: &str = "trace.json";
/// The events that were sent to watchers.
pub(super) const EVENTS: &str = "events.jsonl";

const INDEX_FILE: &str = "index.sqlite";

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS jobs (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        created REAL NOT NULL,
        started REAL,
        finished REAL,
        prompt TEXT NOT NULL,
        score REAL,
        error TEXT,
        facts TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS open ON jobs (state) WHERE state IN ('queued', 'running');
";

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JobState {
    /// It is waiting.
    Queued,
    /// Its search is running.
    Running,
    /// It has an image.
    Done,
    /// Its search failed.
    Failed,
    /// A client cancelled it.
    Cancelled,
    /// The server ended before it was done.
    Interrupted,
}

impl JobState {
    pub(super) const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Returns whether the state is final.
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A job, as the index stores it and clients receive it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub id: String,
    pub state: JobState,
    /// Seconds since 1970.
    pub created: f64,
    pub started: Option<f64>,
    pub finished: Option<f64>,
    pub prompt: String,
    pub score: Option<f64>,
    pub error: Option<String>,
    /// The request: negative, seed, size, previews, settings and plan.
    pub facts: Map<String, Value>,
}

impl Job {
    /// A job that is waiting.
    pub(super) fn new(request: &SearchRequest) -> Self {
        let (width, height) = request.size;
        let mut facts = Map::from_iter([("seed".to_owned(), request.seed.into())]);
        if let Some(negative) = &request.options.negative {
            facts.insert("negative".to_owned(), negative.as_str().into());
        }
        facts.insert("size".to_owned(), format!("{width}x{height}").into());
        facts.insert("previews".to_owned(), request.previews.into());
        facts.insert("settings".to_owned(), request.settings.clone().into());
        facts.insert("plan".to_owned(), json!(request.plan));
        Self {
            id: new_id(),
            state: JobState::Queued,
            created: now(),
            started: None,
            finished: None,
            prompt: request.prompt.clone(),
            score: None,
            error: None,
            facts,
        }
    }

    /// The job as clients receive it.
    pub(super) fn to_json(&self) -> Value {
        let id = &self.id;
        let mut job = json!({
            "object": "job",
            "id": id,
            "state": self.state,
            "prompt": self.prompt,
            "created": self.created,
            "started": self.started,
            "finished": self.finished,
            "score": self.score,
            "error": self.error,
        });
        for (name, value) in &self.facts {
            job[name] = value.clone();
        }
        job["events"] = format!("/v1/jobs/{id}/events").into();
        if self.state == JobState::Done {
            for file in ["image", "trace", "report"] {
                job[format!("{file}_url")] = format!("/v1/jobs/{id}/{file}").into();
            }
        }
        job
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let state: String = row.get("state")?;
        let facts: String = row.get("facts")?;
        Ok(Self {
            id: row.get("id")?,
            state: serde_json::from_value(state.into()).map_err(|error| json_error(1, error))?,
            created: row.get("created")?,
            started: row.get("started")?,
            finished: row.get("finished")?,
            prompt: row.get("prompt")?,
            score: row.get("score")?,
            error: row.get("error")?,
            facts: serde_json::from_str(&facts).map_err(|error| json_error(8, error))?,
        })
    }
}

/// A column that does not contain the expected JSON.
fn json_error(column: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// The folder of a server.
pub(super) struct Store {
    folder: PathBuf,
    index: Mutex<Connection>,
    /// Held while this server runs.
    _lock: File,
}

impl Store {
    /// Opens the folder, creating it if necessary, and updates the index from the files.
    ///
    /// # Errors
    /// Another server uses the folder, or it cannot be read or written.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("jobs")).map_err(Error::io(folder))?;
        let lock = lock_folder(folder)?;
        let index = open_index(folder).map_err(|error| index_error(folder, &error))?;
        let store = Self {
            folder: folder.to_owned(),
            index: Mutex::new(index),
            _lock: lock,
        };
        store.recover()?;
        Ok(store)
    }

    /// Determines the final state of jobs that were open when the previous server ended.
    fn recover(&self) -> Result<()> {
        let open = self.list_where("state IN ('queued', 'running')", &[])?;
        let mut interrupted = 0;
        for job in &open {
            if let Some(score) = self.stored_score(&job.id) {
                let result = JobResult { score, error: None };
                self.mark_over(&job.id, JobState::Done, Some(result))?;
            } else {
                self.mark_over(&job.id, JobState::Interrupted, None)?;
                interrupted += 1;
            }
        }
        if interrupted > 0 {
            tracing::warn!(
                "marked {interrupted} unfinished {} from the previous run as interrupted",
                if interrupted == 1 { "job" } else { "jobs" }
            );
        }
        Ok(())
    }

    /// The winner's score of a job whose files are complete. `None` for any other job.
    fn stored_score(&self, id: &str) -> Option<Option<f32>> {
        if !self.path(id, IMAGE).is_file() {
            return None;
        }
        let trace = input::read_text(self.path(id, TRACE)).ok()?;
        let trace = Trace::from_json(&trace).ok()?;
        let winner = trace
            .finals
            .iter()
            .find(|finished| finished.id == trace.winner);
        Some(winner.map(|winner| winner.score))
    }

    /// Adds jobs that are waiting, either all of them or none.
    pub(super) fn add(&self, jobs: &[Job]) -> Result<()> {
        insert(&mut self.lock(), jobs).map_err(|error| index_error(&self.folder, &error))
    }

    /// Marks a job as running.
    pub(super) fn mark_running(&self, id: &str) -> Result<()> {
        self.execute(
            "UPDATE jobs SET state = 'running', started = ?2 WHERE id = ?1",
            params![id, now()],
        )
    }

    /// Sets the final state of a job.
    pub(super) fn mark_over(
        &self,
        id: &str,
        state: JobState,
        result: Option<JobResult>,
    ) -> Result<()> {
        let score = result
            .as_ref()
            .and_then(|result| result.score)
            .and_then(|score| number::to_json(score).as_f64());
        let error = result.and_then(|result| result.error);
        self.execute(
            "UPDATE jobs SET state = ?2, finished = ?3, score = ?4, error = ?5 WHERE id = ?1",
            params![id, state.name(), now(), score, error],
        )
    }

    /// The job with this id.
    pub(super) fn job(&self, id: &str) -> Result<Option<Job>> {
        let index = self.lock();
        let found = index
            .prepare_cached("SELECT * FROM jobs WHERE id = ?1")
            .and_then(|mut query| query.query_row([id], Job::from_row).optional());
        found.map_err(|error| index_error(&self.folder, &error))
    }

    /// The latest jobs, newest first, optionally only those older than `before`.
    pub(super) fn list(&self, limit: usize, before: Option<&str>) -> Result<Vec<Job>> {
        let condition = "id < ?1 ORDER BY id DESC LIMIT ?2";
        self.list_where(condition, params![before.unwrap_or("~"), limit as i64])
    }

    fn list_where(&self, condition: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Job>> {
        let index = self.lock();
        let found = index
            .prepare_cached(&format!("SELECT * FROM jobs WHERE {condition}"))
            .and_then(|mut query| {
                query
                    .query_map(values, Job::from_row)?
                    .collect::<rusqlite::Result<Vec<Job>>>()
            });
        found.map_err(|error| index_error(&self.folder, &error))
    }

    /// Deletes a job from the index. [`Store::remove_files_if_deleted`] removes its files.
    pub(super) fn delete(&self, id: &str) -> Result<()> {
        self.execute("DELETE FROM jobs WHERE id = ?1", params![id])
    }

    /// Removes the files of a job that is no longer in the index.
    pub(super) fn remove_files_if_deleted(&self, id: &str) -> Result<()> {
        if self.job(id)?.is_some() {
            return Ok(());
        }
        let folder = self.folder.join("jobs").join(id);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(folder)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file of a job atomically.
    pub(super) fn write(&self, id: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(id, name);
        let folder = self.folder.join("jobs").join(id);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        file::replace(&path, bytes).map_err(Error::io(path))
    }

    /// Copies the first `sheets` contact sheets of job `from` to job `to`.
    pub(super) fn copy_sheets(&self, from: &str, to: &str, sheets: usize) -> Result<()> {
        for sheet in 0..sheets {
            let name = Self::sheet_name(sheet);
            let path = self.path(from, &name);
            let bytes = input::read(&path)?;
            self.write(to, &name, &bytes)?;
        }
        Ok(())
    }

    /// Reads a file of a job. Returns `None` when it does not exist.
    pub(super) fn read(&self, id: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(id, name);
        match input::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The name of a contact sheet, counted from 0.
    pub(super) fn sheet_name(number: usize) -> String {
        format!("previews-{number}.png")
    }

    fn path(&self, id: &str, name: &str) -> PathBuf {
        self.folder.join("jobs").join(id).join(name)
    }

    fn execute(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<()> {
        self.lock()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(|error| index_error(&self.folder, &error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks the folder. The system releases the lock when the program ends, however it ends.
fn lock_folder(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let lock = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(Error::file(folder, "another server uses this folder")
                .with_hint("stop that server, or choose another --folder"))
        }
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}

fn open_index(folder: &Path) -> rusqlite::Result<Connection> {
    let index = Connection::open(folder.join(INDEX_FILE))?;
    index.execute_batch(SCHEMA)?;
    Ok(index)
}

/// Inserts jobs in one transaction.
fn insert(index: &mut Connection, jobs: &[Job]) -> rusqlite::Result<()> {
    let transaction = index.transaction()?;
    for job in jobs {
        let facts = Value::from(job.facts.clone()).to_string();
        transaction
            .prepare_cached(
                "INSERT INTO jobs (id, state, created, prompt, facts) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                job.id,
                job.state.name(),
                job.created,
                job.prompt,
                facts
            ])?;
    }
    transaction.commit()
}

fn index_error(folder: &Path, error: &rusqlite::Error) -> Error {
    let path = folder.join(INDEX_FILE);
    Error::system(format!("{}: the index of jobs: {error}", path.display()))
        .with_hint("check that the disk has space and that the file is an index of this program")
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_millis() as f64 / 1000.0)
}

/// A new id: the time, so that ids grow, followed by random digits, so that they are hard to guess.
fn new_id() -> String {
    format!(
        "{:011x}{:08x}{:08x}",
        (now() * 1000.0) as u64,
        new_seed(),
        new_seed()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_job(store: &Store, id: &str) {
        let job = Job {
            id: id.into(),
            state: JobState::Queued,
            created: 1.5,
            started: None,
            finished: None,
            prompt: "a red circle".to_owned(),
            score: None,
            error: None,
            facts: Map::new(),
        };
        store.add(&[job]).unwrap();
    }

    #[test]
    fn after_a_restart_open_jobs_are_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        add_job(&store, "a");
        add_job(&store, "b");
        store.mark_running("a").unwrap();
        let result = JobResult {
            score: Some(0.1),
            error: None,
        };
        store.mark_over("a", JobState::Done, Some(result)).unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        let jobs = store.list(9, None).unwrap();
        assert_eq!(
            jobs.iter()
                .map(|job| (&*job.id, job.state))
                .collect::<Vec<_>>(),
            [("b", JobState::Interrupted), ("a", JobState::Done)]
        );
        assert_eq!(jobs[1].score, Some(0.1));
        assert_eq!(store.list(9, Some("b")).unwrap().len(), 1);
        store.delete("a").unwrap();
        assert_eq!(store.job("a").unwrap(), None);
    }

    #[test]
    fn only_one_server_can_use_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Store::open(folder.path()).unwrap();
        assert!(
            Store::open(folder.path())
                .err()
                .unwrap()
                .to_string()
                .contains("another server")
        );
    }

    #[test]
    fn a_damaged_index_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("index.sqlite"), [7; 4096]).unwrap();
        assert!(
            Store::open(folder.path())
                .err()
                .unwrap()
                .to_string()
                .contains("index.sqlite")
        );
    }

    #[test]
    fn ids_grow_with_time() {
        let first = new_id();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(first < new_id() && first.len() == 27);
    }
}
