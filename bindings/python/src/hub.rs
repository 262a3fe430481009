//! Released models: their names, their files in the Hugging Face cache, and downloads.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pyo3::prelude::*;
use ttsvar::{
    Error,
    hub::{
        catalog::Entry,
        fetch::{self, Hub},
        released::NAMES,
    },
    system::{self, SystemBuilder},
};

use crate::errors::{external, raised};

/// The time between two calls to report the progress of a download.
const PAUSE: Duration = Duration::from_millis(200);

/// The names of the released models.
#[pyfunction]
pub(crate) fn released() -> Vec<&'static str> {
    NAMES.to_vec()
}

/// The name of the released model that a repository of Hugging Face publishes under a variant.
#[pyfunction]
#[pyo3(signature = (repository, variant=None))]
pub(crate) fn model_of_repository(
    py: Python<'_>,
    repository: &str,
    variant: Option<&str>,
) -> PyResult<&'static str> {
    raised(py, system::model_of_repository(repository, variant))
}

/// The folder in which Hugging Face's own tools keep what they downloaded.
#[pyfunction]
pub(crate) fn cache_folder() -> PathBuf {
    fetch::usual_folder()
}

/// Downloads the files of a released model and of scorers that are missing in a folder.
/// `progress(file, bytes, total)` is called a few times per second and with every complete file.
#[pyfunction]
#[pyo3(signature = (model, folder, scorer=None, progress=None))]
pub(crate) fn fetch_missing(
    py: Python<'_>,
    model: String,
    folder: PathBuf,
    scorer: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<()> {
    let builder = SystemBuilder {
        model: Some(model),
        weights: Some(folder.clone()),
        scorer: raised(py, scorer.map(str::parse).transpose())?,
        ..SystemBuilder::default()
    };
    let fetched = py.detach(|| fetch_all(&builder, &folder, progress));
    raised(py, fetched)
}

fn fetch_all(
    builder: &SystemBuilder,
    folder: &Path,
    callable: Option<Py<PyAny>>,
) -> ttsvar::Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut progress = PythonProgress {
        callable,
        file: String::new(),
        bytes: 0,
        total: 0,
        last: Instant::now(),
    };
    let hub = Hub::new(folder)?;
    for entry in builder.missing_entries()? {
        let place = ttsvar::hub::Folder::Disk(folder.to_owned());
        if entry.complete_in(&place).is_none() {
            hub.fetch_all(entry, &mut progress)?;
        }
    }
    Ok(())
}

/// Passes the progress of downloads to Python, and checks for Ctrl-C.
struct PythonProgress {
    callable: Option<Py<PyAny>>,
    file: String,
    bytes: u64,
    total: u64,
    last: Instant,
}

impl PythonProgress {
    fn report(&mut self) -> ttsvar::Result<()> {
        self.last = Instant::now();
        let call = |py: Python<'_>| {
            py.check_signals()?;
            match &self.callable {
                Some(callable) => callable
                    .call1(py, (&self.file, self.bytes, self.total))
                    .map(|_| ()),
                None => Ok(()),
            }
        };
        Ok(Python::attach(call).map_err(external)?)
    }
}

impl fetch::Progress for PythonProgress {
    fn begin(&mut self, file: &str, bytes: u64) -> ttsvar::Result<()> {
        file.clone_into(&mut self.file);
        self.bytes = 0;
        self.total = bytes;
        self.report()
    }

    fn came(&mut self, bytes: u64) -> ttsvar::Result<()> {
        self.bytes += bytes;
        match self.last.elapsed() < PAUSE {
            true => Ok(()),
            false => self.report(),
        }
    }

    fn arrived(&mut self, _entry: &Entry, file: &str, _place: &Path) -> ttsvar::Result<()> {
        // A file that exists already was not begun
        match file == self.file {
            true => self.report(),
            false => Ok(()),
        }
    }
}
