//! Storage of jobs, images and traces: an SQLite index, and one folder of files per job.
//!
//! The files of a job are written completely before the index marks it as done. After a crash, the
//! next start therefore finds every finished image and knows which jobs were interrupted. While the
//! index cannot be written, the final states of jobs are kept in memory.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, Row, params};
use serde_json::Value;
use ttsvar_search::Trace;

use super::{
    folder,
    job::{Failure, Job, JobResult, JobState, job_id, now},
    leftovers,
};
use crate::{Error, Result, file, input};

/// The winner.
pub(super) const IMAGE: &str = "image.png";
/// The record of the search.
pub(super) const TRACE: &str = "trace.json";
/// The events that were sent to watchers.
pub(super) const EVENTS: &str = "events.jsonl";

/// Bytes of the largest file of a job that is read.
const MAX_FILE: u64 = 256 << 20;

/// The folder of a server.
pub(super) struct Store {
    folder: PathBuf,
    index: Mutex<Index>,
    /// The damaged rows that the log names already.
    reported: Mutex<HashSet<String>>,
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
        let lock = folder::lock(folder)?;
        let index = folder::open_index(folder).map_err(|error| index_error(folder, &error))?;
        let store = Self {
            folder: folder.to_owned(),
            index: Mutex::new(Index {
                connection: index,
                missed: HashMap::new(),
            }),
            reported: Mutex::default(),
            _lock: lock,
        };
        store.recover()?;
        Ok(store)
    }

    /// Determines the final state of jobs that were open when the previous server ended, and
    /// removes what it left unfinished.
    fn recover(&self) -> Result<()> {
        let mut interrupted = 0;
        for id in self.ids_where("state IN ('queued', 'running')")? {
            let stored = self.stored_result(&id);
            let state = match stored {
                Some(_) => JobState::Done,
                None => JobState::Interrupted,
            };
            interrupted += usize::from(stored.is_none());
            let end = End::new(state, stored.unwrap_or_default());
            self.checked(write_end(&self.lock().connection, &id, &end))?;
        }
        if interrupted > 0 {
            tracing::warn!(
                "marked {interrupted} unfinished {} from the previous run as interrupted",
                if interrupted == 1 { "job" } else { "jobs" }
            );
        }
        let done = self.ids_where("state = 'done'")?.into_iter().collect();
        leftovers::remove(&self.folder, &done);
        Ok(())
    }

    /// The result of a job whose files are complete. `None` for any other job.
    fn stored_result(&self, id: &str) -> Option<JobResult> {
        if !self.path(id, IMAGE).is_file() {
            return None;
        }
        let trace = self.read(id, TRACE).ok()??;
        let trace = Trace::from_json(&String::from_utf8(trace).ok()?).ok()?;
        Some(JobResult::from_trace(&trace))
    }

    /// Adds jobs that are waiting, either all of them or none.
    pub(super) fn add(&self, jobs: &[Job]) -> Result<()> {
        insert(&mut self.lock().connection, jobs).map_err(|error| index_error(&self.folder, &error))
    }

    /// Marks a job as running if it is waiting.
    pub(super) fn mark_running(&self, id: &str) -> Result<()> {
        self.execute(
            "UPDATE jobs SET state = 'running', started = ?2 WHERE id = ?1 AND state = 'queued'",
            params![id, now()],
        )
    }

    /// Sets the final state of a job that is waiting or running. Returns `false` if the job is over
    /// already or no longer there: the first final state counts.
    ///
    /// What the index does not take is kept in memory and written later.
    pub(super) fn mark_over(&self, id: &str, state: JobState, result: JobResult) -> bool {
        let mut index = self.lock();
        index.write_missed();
        if !index.is_open(id) {
            return false;
        }
        let end = End::new(state, result);
        if let Err(error) = write_end(&index.connection, id, &end) {
            let error = index_error(&self.folder, &error);
            tracing::error!(job = id, %error, "keeping the state of a job in memory");
            index.missed.insert(id.to_owned(), end);
        }
        true
    }

    /// Writes the final states that the index did not take before.
    pub(super) fn write_missed(&self) {
        self.lock().write_missed();
    }

    /// The job with this id.
    ///
    /// # Errors
    /// Its row or the index is damaged.
    pub(super) fn job(&self, id: &str) -> Result<Option<Job>> {
        let index = self.lock();
        let sql = "SELECT * FROM jobs WHERE id = ?1";
        let mut query = self.checked(index.connection.prepare_cached(sql))?;
        let mut rows = self.checked(query.query([id]))?;
        let Some(row) = self.checked(rows.next())? else {
            return Ok(None);
        };
        index.read(row).map(Some).map_err(|fault| {
            let path = self.folder.join(folder::INDEX_FILE);
            let message = format!(
                "{}: the row of job {id} is damaged: {fault}",
                path.display()
            );
            Error::system(message)
        })
    }

    /// Returns whether the index has a job, damaged or not.
    pub(super) fn contains(&self, id: &str) -> Result<bool> {
        let index = self.lock();
        let sql = "SELECT 1 FROM jobs WHERE id = ?1";
        let mut query = self.checked(index.connection.prepare_cached(sql))?;
        self.checked(query.exists([id]))
    }

    /// The latest jobs, newest first, optionally only those older than `before`. Damaged rows are
    /// skipped and logged.
    pub(super) fn list(&self, limit: usize, before: Option<&str>) -> Result<Vec<Job>> {
        let index = self.lock();
        let sql = "SELECT * FROM jobs WHERE id < ?1 ORDER BY id DESC";
        let mut query = self.checked(index.connection.prepare_cached(sql))?;
        let mut rows = self.checked(query.query([before.unwrap_or("~")]))?;
        let mut jobs = vec![];
        while jobs.len() < limit {
            match rows.next() {
                Ok(None) => break,
                Ok(Some(row)) => match index.read(row) {
                    Ok(job) => jobs.push(job),
                    Err(fault) => self.log_damage(row, &fault),
                },
                // A damaged page of the index: what lies before it can be read
                Err(error) if !jobs.is_empty() => {
                    tracing::error!(%error, "the index of jobs is damaged; older jobs are missing");
                    break;
                }
                Err(error) => return Err(index_error(&self.folder, &error)),
            }
        }
        Ok(jobs)
    }

    /// The ids of the jobs that meet a condition. Rows without a usable id are skipped.
    fn ids_where(&self, condition: &str) -> Result<Vec<String>> {
        let index = self.lock();
        let sql = format!("SELECT id FROM jobs WHERE {condition}");
        let mut query = self.checked(index.connection.prepare(&sql))?;
        let mut rows = self.checked(query.query([]))?;
        let mut ids = vec![];
        while let Some(row) = self.checked(rows.next())? {
            match job_id(row) {
                Ok(id) => ids.push(id),
                Err(fault) => self.log_damage(row, &fault),
            }
        }
        Ok(ids)
    }

    /// Logs a damaged row, once while the server runs.
    fn log_damage(&self, row: &Row<'_>, fault: &str) {
        let id = job_id(row).unwrap_or_default();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(format!("{id} {fault}")) {
            tracing::error!(
                job = id,
                fault,
                "skipped a damaged row in the index of jobs"
            );
        }
    }

    /// A result of the database, with an error that names the index.
    fn checked<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|error| index_error(&self.folder, &error))
    }

    /// Deletes a job from the index. [`Store::tidy`] removes its files.
    pub(super) fn delete(&self, id: &str) -> Result<()> {
        self.execute("DELETE FROM jobs WHERE id = ?1", params![id])?;
        self.lock().missed.remove(id);
        Ok(())
    }

    /// Removes the files that are no longer of use: all files of a job that is no longer in the
    /// index, and the previews of one that ended without an image.
    pub(super) fn tidy(&self, id: &str) -> Result<()> {
        let folder = self.folder.join("jobs").join(id);
        if !self.contains(id)? {
            return match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(folder)(error)),
                _ => Ok(()),
            };
        }
        let state = self.job(id)?.map(|job| job.state);
        if state.is_some_and(|state| state.is_over() && state != JobState::Done) {
            leftovers::remove_previews(&folder);
        }
        Ok(())
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
            if let Some(bytes) = self.read(from, &name)? {
                self.write(to, &name, &bytes)?;
            }
        }
        Ok(())
    }

    /// Reads a file of a job. Returns `None` when it does not exist.
    ///
    /// # Errors
    /// It cannot be read, is too large for a file of a job, or is no regular file. A FIFO or a device
    /// in its place could block the reader for ever.
    pub(super) fn read(&self, id: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(id, name);
        let about = match fs::metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path)(error)),
        };
        folder::check_regular(&path, &about)?;
        if about.len() > MAX_FILE {
            let message = format!("{}: too large, {} bytes", path.display(), about.len());
            return Err(Error::system(message));
        }
        input::read(&path).map(Some)
    }

    /// The name of an image by its rank; that of the best, 0, is [`IMAGE`].
    pub(super) fn image_name(rank: usize) -> String {
        match rank {
            0 => IMAGE.to_owned(),
            _ => format!("image-{}.png", rank + 1),
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
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(|error| index_error(&self.folder, &error))
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index of jobs, and the final states that it has not taken yet.
struct Index {
    connection: Connection,
    missed: HashMap<String, End>,
}

impl Index {
    /// Returns whether a job is waiting or running. One whose row cannot be read may be.
    fn is_open(&self, id: &str) -> bool {
        if self.missed.contains_key(id) {
            return false;
        }
        let sql = "SELECT 1 FROM jobs WHERE id = ?1 AND state IN ('queued', 'running')";
        let query = self.connection.prepare_cached(sql);
        query
            .and_then(|mut query| query.exists([id]))
            .unwrap_or(true)
    }

    /// Reads the job in a row.
    fn read(&self, row: &Row<'_>) -> Result<Job, String> {
        let mut job = Job::from_row(row)?;
        if let Some(end) = self.missed.get(&job.id) {
            end.apply(&mut job);
        }
        Ok(job)
    }

    /// Writes the final states that were kept, up to the first that is refused again.
    fn write_missed(&mut self) {
        while let Some((id, end)) = self.missed.iter().next() {
            if write_end(&self.connection, id, end).is_err() {
                return;
            }
            let id = id.clone();
            self.missed.remove(&id);
        }
    }
}

/// How and when a job ended.
struct End {
    state: JobState,
    finished: f64,
    result: JobResult,
}

impl End {
    /// The end of a job, now.
    fn new(state: JobState, result: JobResult) -> Self {
        Self {
            state,
            finished: now(),
            result,
        }
    }

    /// Makes the job one that ended like this.
    fn apply(&self, job: &mut Job) {
        job.state = self.state;
        job.finished = Some(self.finished);
        job.score = self.result.stored_score();
        job.error.clone_from(&self.result.error);
        job.failure = self.result.failure;
        job.warnings.clone_from(&self.result.warnings);
    }
}

/// Writes the end of a job.
fn write_end(index: &Connection, id: &str, end: &End) -> rusqlite::Result<()> {
    let sql = "UPDATE jobs SET state = ?2, finished = ?3, score = ?4, error = ?5, failure = ?6, \
               warnings = ?7 WHERE id = ?1";
    let End {
        state,
        finished,
        result,
    } = end;
    index.prepare_cached(sql)?.execute(params![
        id,
        state.name(),
        finished,
        result.stored_score(),
        result.error,
        result.failure.map(Failure::name),
        Value::from(result.warnings.clone()).to_string(),
    ])?;
    Ok(())
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
    let path = folder.join(folder::INDEX_FILE);
    Error::system(format!("{}: the index of jobs: {error}", path.display()))
        .with_hint("check that the disk has space and that the file is an index of this program")
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
            failure: None,
            facts: serde_json::Map::new(),
            warnings: vec![],
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
            ..JobResult::default()
        };
        assert!(store.mark_over("a", JobState::Done, result));
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
    fn a_final_state_that_the_index_refuses_is_kept_and_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        add_job(&store, "a");
        add_job(&store, "b");
        store.mark_running("a").unwrap();
        let refuse = "CREATE TRIGGER full BEFORE UPDATE ON jobs \
                      BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
        store.lock().connection.execute_batch(refuse).unwrap();
        let result = JobResult::failed(Failure::TimedOut, "too long".to_owned());
        assert!(store.mark_over("a", JobState::Failed, result));
        let cancelled = JobResult::default();
        assert!(!store.mark_over("a", JobState::Cancelled, cancelled.clone()));
        let kept = store.job("a").unwrap().unwrap();
        assert_eq!(
            (kept.state, kept.failure),
            (JobState::Failed, Some(Failure::TimedOut))
        );
        assert_eq!(store.list(9, None).unwrap()[1], kept);
        let accept = "DROP TRIGGER full";
        store.lock().connection.execute_batch(accept).unwrap();
        assert!(store.mark_over("b", JobState::Cancelled, cancelled));
        store.mark_running("b").unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.job("a").unwrap(), Some(kept));
        assert_eq!(
            store.job("b").unwrap().unwrap().state,
            JobState::Cancelled,
            "a job that is over does not run"
        );
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
}
