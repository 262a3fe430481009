//! Storage of jobs, images and traces: an SQLite index, and one folder of files per job.
//!
//! The files of a job are written completely before the index marks it as done. After a crash, the
//! next start therefore finds every finished image and knows which jobs were interrupted.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, Row, params};
use serde_json::Value;
use ttsvar_search::{Trace, number};

use super::{
    folder,
    job::{Job, JobResult, JobState, job_id, now},
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
    index: Mutex<Connection>,
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
            index: Mutex::new(index),
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
            if let Some(result) = self.stored_result(&id) {
                self.mark_over(&id, JobState::Done, Some(result))?;
            } else {
                self.mark_over(&id, JobState::Interrupted, None)?;
                interrupted += 1;
            }
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
        let result = result.unwrap_or_default();
        let score = result
            .score
            .and_then(|score| number::to_json(score).as_f64());
        let warnings = Value::Array(result.warnings).to_string();
        self.execute(
            "UPDATE jobs SET state = ?2, finished = ?3, score = ?4, error = ?5, warnings = ?6 \
             WHERE id = ?1",
            params![id, state.name(), now(), score, result.error, warnings],
        )
    }

    /// The job with this id.
    ///
    /// # Errors
    /// Its row or the index is damaged.
    pub(super) fn job(&self, id: &str) -> Result<Option<Job>> {
        let index = self.lock();
        let mut query = self.checked(index.prepare_cached("SELECT * FROM jobs WHERE id = ?1"))?;
        let mut rows = self.checked(query.query([id]))?;
        let Some(row) = self.checked(rows.next())? else {
            return Ok(None);
        };
        Job::from_row(row).map(Some).map_err(|fault| {
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
        let mut query = self.checked(index.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1"))?;
        self.checked(query.exists([id]))
    }

    /// The latest jobs, newest first, optionally only those older than `before`. Damaged rows are
    /// skipped and logged.
    pub(super) fn list(&self, limit: usize, before: Option<&str>) -> Result<Vec<Job>> {
        let index = self.lock();
        let sql = "SELECT * FROM jobs WHERE id < ?1 ORDER BY id DESC";
        let mut query = self.checked(index.prepare_cached(sql))?;
        let mut rows = self.checked(query.query([before.unwrap_or("~")]))?;
        let mut jobs = vec![];
        while jobs.len() < limit {
            match rows.next() {
                Ok(None) => break,
                Ok(Some(row)) => match Job::from_row(row) {
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
        let mut query = self.checked(index.prepare(&sql))?;
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
        self.execute("DELETE FROM jobs WHERE id = ?1", params![id])
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
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(|error| index_error(&self.folder, &error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
