//! The folder of a server: its lock and its index.

use std::{
    fs::{self, File, Metadata, TryLockError},
    path::Path,
};

use rusqlite::Connection;

use crate::{Error, Result};

pub(super) const INDEX_FILE: &str = "index.sqlite";
const LOCK_FILE: &str = "lock";

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
        facts TEXT NOT NULL,
        warnings TEXT,
        failure TEXT
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS open ON jobs (state) WHERE state IN ('queued', 'running');
";

/// Refuses FIFOs, devices and folders in place of a file.
///
/// # Errors
/// It is no regular file.
pub(super) fn check_regular(path: &Path, about: &Metadata) -> Result<()> {
    if about.is_file() {
        return Ok(());
    }
    let message = format!("{}: not a regular file", path.display());
    Err(Error::system(message).with_hint("remove it; a server writes regular files only"))
}

/// Locks the folder. The system releases the lock when the program ends, however it ends.
///
/// # Errors
/// Another server uses the folder, or something else is in place of the lock or the index.
pub(super) fn lock(folder: &Path) -> Result<File> {
    for name in [LOCK_FILE, INDEX_FILE] {
        let path = folder.join(name);
        if let Ok(about) = fs::metadata(&path) {
            check_regular(&path, &about)?;
        }
    }
    let path = folder.join(LOCK_FILE);
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

/// Opens the index, creating it if necessary.
pub(super) fn open_index(folder: &Path) -> rusqlite::Result<Connection> {
    let index = Connection::open(folder.join(INDEX_FILE))?;
    index.execute_batch(SCHEMA)?;
    add_missing_columns(&index)?;
    Ok(index)
}

/// Adds the columns that earlier versions of this program did not have.
fn add_missing_columns(index: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT 1 FROM pragma_table_info('jobs') WHERE name = ?1";
    for column in ["warnings", "failure"] {
        if !index.prepare(sql)?.exists([column])? {
            index.execute_batch(&format!("ALTER TABLE jobs ADD COLUMN {column} TEXT"))?;
        }
    }
    Ok(())
}
