//! Jobs, images and traces in a folder: an SQLite index, and a folder of files for each job.
//!
//! Files are written whole before the index says that a job is done, so that a start after a crash
//! finds every finished image and knows which jobs were interrupted.

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

use super::{desk::Ending, request::SearchRequest};
use crate::{Error, Result, file, request::new_seed};

/// The winner.
pub(super) const IMAGE: &str = "image.png";
/// The record of the search.
pub(super) const TRACE: &str = "trace.json";
/// What watchers were told.
pub(super) const EVENTS: &str = "events.jsonl";

const INDEX: &str = "
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

/// What has become of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It waits.
    Queued,
    /// It is searched for.
    Running,
    /// There is an image.
    Done,
    /// Something went wrong.
    Failed,
    /// A client did not want it any more.
    Cancelled,
    /// The server ended before it was done.
    Interrupted,
}

impl State {
    pub(super) const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
    ];

    pub(super) fn name(self) -> &'static str {
        [
            "queued",
            "running",
            "done",
            "failed",
            "cancelled",
            "interrupted",
        ][self as usize]
    }

    /// Whether nothing more will happen.
    pub(super) fn over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A job as the index has it and clients read it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub id: String,
    pub state: State,
    /// Seconds since 1970.
    pub created: f64,
    pub started: Option<f64>,
    pub finished: Option<f64>,
    pub prompt: String,
    pub score: Option<f64>,
    pub error: Option<String>,
    /// What was asked for: negative, seed, size, settings, plan.
    pub facts: Map<String, Value>,
}

impl Job {
    /// A job that waits.
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
        let (id, created, prompt) = (new_id(), now(), request.prompt.clone());
        let (started, finished, score, error) = (None, None, None, None);
        Self {
            id,
            state: State::Queued,
            created,
            started,
            finished,
            prompt,
            score,
            error,
            facts,
        }
    }

    /// The job as clients read it.
    pub(super) fn to_json(&self) -> Value {
        let Self {
            id,
            state,
            created,
            started,
            finished,
            prompt,
            score,
            error,
            facts,
        } = self;
        let mut job = json!({ "object": "job", "id": id, "state": state, "prompt": prompt, "created": created,
            "started": started, "finished": finished, "score": score, "error": error });
        if let Value::Object(job) = &mut job {
            job.extend(facts.clone());
            let of = |what: &str| Value::from(format!("/v1/jobs/{id}/{what}"));
            job.insert("events".to_owned(), of("events"));
            if *state == State::Done {
                job.extend(
                    ["image", "trace", "report"].map(|what| (format!("{what}_url"), of(what))),
                );
            }
        }
        job
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let broken = |column: usize, error: serde_json::Error| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
        };
        let state: String = row.get("state")?;
        let facts: String = row.get("facts")?;
        Ok(Self {
            id: row.get("id")?,
            state: serde_json::from_value(state.into()).map_err(|error| broken(1, error))?,
            created: row.get("created")?,
            started: row.get("started")?,
            finished: row.get("finished")?,
            prompt: row.get("prompt")?,
            score: row.get("score")?,
            error: row.get("error")?,
            facts: serde_json::from_str(&facts).map_err(|error| broken(8, error))?,
        })
    }
}

/// The folder.
pub(super) struct Store {
    folder: PathBuf,
    index: Mutex<Connection>,
    /// Held as long as this server lives.
    _lock: File,
}

impl Store {
    /// Opens the folder, made if it is not there, and brings the index up to date with the files.
    ///
    /// # Errors
    /// Another server has it, or it cannot be read and written.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("jobs")).map_err(Error::io(folder))?;
        let lock = locked(folder)?;
        let index = Connection::open(folder.join("index.sqlite")).and_then(|index| {
            index.execute_batch(INDEX)?;
            Ok(index)
        });
        let index = index.map_err(|error| refused(folder, &error))?;
        let store = Self {
            folder: folder.to_owned(),
            index: Mutex::new(index),
            _lock: lock,
        };
        store.recover()?;
        Ok(store)
    }

    /// Settles the jobs that were open when the last server ended.
    fn recover(&self) -> Result<()> {
        let open = self.list_where("state IN ('queued', 'running')", &[])?;
        for job in &open {
            match self.finished(&job.id) {
                Some(score) => {
                    self.end(&job.id, State::Done, Some(Ending { score, error: None }))?
                }
                None => self.end(&job.id, State::Interrupted, None)?,
            }
        }
        if !open.is_empty() {
            tracing::warn!(
                jobs = open.len(),
                "the last server ended before these jobs did"
            );
        }
        Ok(())
    }

    /// The score of a job whose files are all there.
    fn finished(&self, id: &str) -> Option<Option<f32>> {
        let trace = fs::read_to_string(self.path(id, TRACE)).ok()?;
        let trace = Trace::from_json(&trace)
            .ok()
            .filter(|_| self.path(id, IMAGE).is_file())?;
        Some(
            trace
                .finals
                .iter()
                .find(|last| last.id == trace.winner)
                .map(|last| last.score),
        )
    }

    /// Adds jobs that wait, all or none.
    pub(super) fn add(&self, jobs: &[Job]) -> Result<()> {
        let mut index = self.lock();
        let add = |index: &mut Connection| {
            let change = index.transaction()?;
            for job in jobs {
                let facts = Value::from(job.facts.clone()).to_string();
                let sql = "INSERT INTO jobs (id, state, created, prompt, facts) VALUES (?1, ?2, ?3, ?4, ?5)";
                let row = params![job.id, job.state.name(), job.created, job.prompt, facts];
                change.prepare_cached(sql)?.execute(row)?;
            }
            change.commit()
        };
        add(&mut index).map_err(|error| refused(&self.folder, &error))
    }

    /// A job is searched for from now on.
    pub(super) fn begin(&self, id: &str) -> Result<()> {
        self.change(
            "UPDATE jobs SET state = 'running', started = ?2 WHERE id = ?1",
            params![id, now()],
        )
    }

    /// A job is over.
    pub(super) fn end(&self, id: &str, state: State, ending: Option<Ending>) -> Result<()> {
        let (score, error) = ending.map_or((None, None), |ending| (ending.score, ending.error));
        let sql = "UPDATE jobs SET state = ?2, finished = ?3, score = ?4, error = ?5 WHERE id = ?1";
        let score = score.and_then(|score| number::to_json(score).as_f64());
        self.change(sql, params![id, state.name(), now(), score, error])
    }

    /// The job of an id.
    pub(super) fn job(&self, id: &str) -> Result<Option<Job>> {
        let index = self.lock();
        let found = index
            .prepare_cached("SELECT * FROM jobs WHERE id = ?1")
            .and_then(|mut query| query.query_row([id], Job::read).optional());
        found.map_err(|error| refused(&self.folder, &error))
    }

    /// The latest jobs, the newest first; those older than `before`, if it is given.
    pub(super) fn list(&self, most: usize, before: Option<&str>) -> Result<Vec<Job>> {
        let condition = "id < ?1 ORDER BY id DESC LIMIT ?2";
        self.list_where(condition, params![before.unwrap_or("~"), most as i64])
    }

    fn list_where(&self, condition: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Job>> {
        let index = self.lock();
        let found = index
            .prepare_cached(&format!("SELECT * FROM jobs WHERE {condition}"))
            .and_then(|mut query| {
                query
                    .query_map(values, Job::read)?
                    .collect::<rusqlite::Result<Vec<Job>>>()
            });
        found.map_err(|error| refused(&self.folder, &error))
    }

    /// Forgets a job; [`Store::sweep`] takes its files away.
    pub(super) fn forget(&self, id: &str) -> Result<()> {
        self.change("DELETE FROM jobs WHERE id = ?1", params![id])
    }

    /// Takes the files of a job away that is forgotten; those of any other stay.
    pub(super) fn sweep(&self, id: &str) -> Result<()> {
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

    /// Writes a file of a job, whole or not at all.
    pub(super) fn keep(&self, id: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(id, name);
        let folder = self.folder.join("jobs").join(id);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        file::replace(&path, bytes).map_err(Error::io(path))
    }

    /// Gives job `to` the first `sheets` sheets of job `from`.
    pub(super) fn share_sheets(&self, from: &str, to: &str, sheets: usize) -> Result<()> {
        for sheet in (0..sheets).map(Self::sheet) {
            let path = self.path(from, &sheet);
            self.keep(to, &sheet, &fs::read(&path).map_err(Error::io(&path))?)?;
        }
        Ok(())
    }

    /// A file of a job; none when it is not there.
    pub(super) fn read(&self, id: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(id, name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path)(error)),
        }
    }

    /// The name of a sheet of previews, counted from 0.
    pub(super) fn sheet(number: usize) -> String {
        format!("previews-{number}.png")
    }

    fn path(&self, id: &str, name: &str) -> PathBuf {
        self.folder.join("jobs").join(id).join(name)
    }

    fn change(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<()> {
        let index = self.lock();
        let changed = index
            .prepare_cached(sql)
            .and_then(|mut change| change.execute(values));
        changed
            .map(|_| ())
            .map_err(|error| refused(&self.folder, &error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder's lock, which the system takes back when the program ends, however it ends.
fn locked(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let lock = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(Error::file(folder, "another server keeps its jobs there")
                .with_hint("end that server, or choose another --folder"))
        }
        Err(TryLockError::Error(error)) => Err(Error::io(&path)(error)),
    }
}

fn refused(folder: &Path, error: &rusqlite::Error) -> Error {
    Error::file(
        folder.join("index.sqlite"),
        format!("the index of jobs: {error}"),
    )
    .with_hint("is there space on the disk, and is the file an index of this program?")
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_millis() as f64 / 1000.0)
}

/// An id that is greater than those of earlier milliseconds and that nobody guesses: time, then
/// random digits.
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

    fn job(store: &Store, id: &str) -> Job {
        let (state, facts) = (State::Queued, Map::new());
        let (started, finished, score, error) = (None, None, None, None);
        let prompt = "a red circle".to_owned();
        let job = Job {
            id: id.into(),
            state,
            created: 1.5,
            started,
            finished,
            prompt,
            score,
            error,
            facts,
        };
        store.add(std::slice::from_ref(&job)).unwrap();
        job
    }

    #[test]
    fn jobs_come_back_after_a_restart_and_open_ones_are_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        job(&store, "a");
        job(&store, "b");
        store.begin("a").unwrap();
        store
            .end(
                "a",
                State::Done,
                Some(Ending {
                    score: Some(0.1),
                    error: None,
                }),
            )
            .unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        let jobs = store.list(9, None).unwrap();
        assert_eq!(
            jobs.iter()
                .map(|job| (&*job.id, job.state))
                .collect::<Vec<_>>(),
            [("b", State::Interrupted), ("a", State::Done)]
        );
        assert_eq!(jobs[1].score, Some(0.1));
        assert_eq!(store.list(9, Some("b")).unwrap().len(), 1);
        store.forget("a").unwrap();
        assert_eq!(store.job("a").unwrap(), None);
    }

    #[test]
    fn a_folder_has_one_server() {
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
