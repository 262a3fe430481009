//! Evaluations in parts that can be distributed over machines: the setup, one sample at a time, and
//! the folder of results.

use std::path::PathBuf;

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use serde::{Serialize, de::DeserializeOwned};
use ttsvar::{
    Error, Result,
    eval::{
        self, Contender, CostModel, ResultRecord, SampleTask, Setup, Suite, Summary,
        consistency::{self, PathLog, ScorePath},
        pending_samples,
        runner::seed_of,
        scenes::Scenes,
        warnings,
    },
    image::Png,
    report::{ResultTables, result_charts, result_tables::GRID_TITLE, sheet},
    request::Session,
    search::Search,
};

use crate::{errors::raised, listener::interruptible, options, system::System};

/// An evaluation on scenes of the demo world. It can be described without a loaded model.
#[pyclass(frozen, module = "ttsvar._native")]
pub(crate) struct Evaluation {
    setup: Setup,
    suite: Scenes,
}

#[pymethods]
impl Evaluation {
    /// An evaluation of methods at several sizes with this model and these options.
    #[staticmethod]
    fn scenes(
        py: Python<'_>,
        system: &System,
        options: &Bound<'_, PyDict>,
        split: &str,
        prompts: usize,
        prompt_seed: u64,
        methods: Vec<String>,
        n: Vec<usize>,
        samples: usize,
        seed: u64,
    ) -> PyResult<Self> {
        let options = options::read(options)?;
        if let Some(name) = options.search_option() {
            let error = Error::input(format!(
                "an evaluation sets up its searches itself: leave {name} out"
            ));
            return raised(py, Err(error));
        }
        let suite = raised(py, split.parse())
            .and_then(|split| raised(py, Scenes::new(split, prompts, prompt_seed)))?;
        let methods = methods
            .iter()
            .map(|name| raised(py, name.parse()))
            .collect::<PyResult<Vec<_>>>()?;
        let session = raised(py, Session::new(&system.inner, &options))?;
        let scales = session.pipeline().scales().len();
        let contenders = raised(
            py,
            Contender::grid(&methods, &n, scales, system.inner.drafts()),
        )?;
        let settings = session.generator_settings();
        Ok(Self {
            setup: Setup::new(suite.described(), settings, &contenders, samples, seed),
            suite,
        })
    }

    /// The evaluation that a setup describes.
    #[staticmethod]
    fn from_setup(py: Python<'_>, setup: &str) -> PyResult<Self> {
        let setup: Setup = raised(py, read(setup, "the setup of an evaluation"))?;
        let suite = raised(py, Scenes::from_description(&setup.suite))?;
        Ok(Self { setup, suite })
    }

    /// The contents of `setup.json`.
    #[getter]
    fn setup(&self) -> String {
        to_json(&self.setup)
    }

    /// The samples that a log does not contain yet, in order.
    fn pending(&self, log: &Log) -> Vec<String> {
        let pending = pending_samples(
            self.suite.cases().len(),
            self.setup.samples,
            &self.setup.contenders,
            log.inner.records(),
        );
        pending.iter().map(to_json).collect()
    }

    /// Generates and evaluates the images of one sample. Returns the record of each and, with
    /// `images`, its PNG.
    fn run_sample<'py>(
        &self,
        py: Python<'py>,
        system: &System,
        options: &Bound<'py, PyDict>,
        sample: &str,
        images: bool,
    ) -> PyResult<Vec<(String, Option<Bound<'py, PyBytes>>)>> {
        let session = self.session(system, options)?;
        let task: SampleTask = raised(py, read(sample, "a sample of an evaluation"))?;
        let search = session.search();
        let found = interruptible(py, || self.evaluate(&session, &search, &task, images));
        let mut results = Vec::new();
        for (record, png) in raised(py, found)? {
            results.push((record, png.map(|png| PyBytes::new(py, &png))));
        }
        Ok(results)
    }

    /// Warnings about the prompts, one text each.
    fn prompt_warnings(
        &self,
        py: Python<'_>,
        system: &System,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Vec<String>> {
        let session = self.session(system, options)?;
        let search = session.search();
        let found = raised(py, self.runner(&session, &search).prompt_warnings())?;
        let summaries = warnings::of_prompts(&found, self.suite.cases());
        Ok(summaries
            .into_iter()
            .map(|summary| format!("{}; {}", summary.text, summary.advice))
            .collect())
    }

    /// The prompts, of the first `count`, whose images were not yet scored after every scale.
    fn pending_paths(&self, py: Python<'_>, log: &Log, count: usize) -> PyResult<Vec<usize>> {
        Ok(raised(py, self.paths(log, count))?.pending())
    }

    /// Scores the images of a prompt after every scale; returns JSON.
    fn run_paths(
        &self,
        py: Python<'_>,
        system: &System,
        options: &Bound<'_, PyDict>,
        case: usize,
    ) -> PyResult<String> {
        let session = self.session(system, options)?;
        let search = session.search();
        let found = interruptible(py, || {
            consistency::paths_of(&self.runner(&session, &search), case)
        });
        Ok(to_json(&raised(py, found)?))
    }

    /// Writes what `run_paths` returned.
    fn add_paths(&self, py: Python<'_>, log: &Log, count: usize, paths: &str) -> PyResult<()> {
        let paths: Vec<ScorePath> = raised(py, read(paths, "scores after every scale"))?;
        let added = self.paths(log, count).and_then(|mut all| all.add(paths));
        raised(py, added)
    }

    /// The contact sheet as a PNG.
    fn sheet<'py>(
        &self,
        py: Python<'py>,
        system: &System,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let session = self.session(system, options)?;
        let search = session.search();
        let drawn = interruptible(py, || {
            let pairs = result_charts::pairs(&self.runner(&session, &search))?;
            Png::new(sheet::sheet(&pairs)).encode()
        });
        Ok(PyBytes::new(py, &raised(py, drawn)?))
    }

    /// Writes the summary, the tables and the charts of a log as the command line does; returns the
    /// summary. `count` prompts were scored after every scale.
    fn write_results(&self, py: Python<'_>, log: &Log, count: usize) -> PyResult<String> {
        let write = |paths: PathLog| {
            let summary = Summary::priced(
                &self.suite,
                self.setup.samples,
                &self.setup.contenders,
                log.inner.records(),
                &CostModel::built_in(),
            );
            let consistency = consistency::consistency(&paths.all());
            let tables = ResultTables::new(GRID_TITLE, summary, consistency);
            tables.write(log.inner.folder())?;
            Ok(tables.json().to_string())
        };
        let written = py.detach(|| self.paths(log, count).and_then(write));
        raised(py, written)
    }
}

impl Evaluation {
    /// The session that generates images with these options.
    fn session<'a>(
        &self,
        system: &'a System,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Session<'a>> {
        let py = options.py();
        let options = options::read(options)?;
        let session = raised(py, Session::new(&system.inner, &options))?;
        if session.generator_settings() != self.setup.settings {
            let error = Error::input("the evaluation belongs to another model or other settings");
            return raised(py, Err(error));
        }
        Ok(session)
    }

    fn runner<'a>(
        &'a self,
        session: &'a Session<'a>,
        search: &'a Search<'a>,
    ) -> eval::Evaluation<'a> {
        eval::Evaluation {
            suite: &self.suite,
            search,
            negative: session.options().negative.as_deref(),
            variants: &[],
            held_out: &[],
            contenders: &self.setup.contenders,
            samples: self.setup.samples,
            seed: self.setup.seed,
            workers: 1,
        }
    }

    /// The scores after every scale of the first `count` prompts, as far as they are in the folder.
    fn paths(&self, log: &Log, count: usize) -> Result<PathLog> {
        let count = count.min(self.suite.cases().len());
        let seeds = (0..count).map(|case| seed_of(self.setup.seed, case, 0));
        PathLog::open(log.inner.folder(), seeds.collect())
    }

    /// Generates and evaluates the images of one sample, without Python.
    fn evaluate(
        &self,
        session: &Session<'_>,
        search: &Search<'_>,
        task: &SampleTask,
        images: bool,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        let evaluation = self.runner(session, search);
        let mut results = Vec::new();
        for result in evaluation.run_sample(task)? {
            let result = result?;
            let png = if images {
                Some(Png::new(result.image).encode()?)
            } else {
                None
            };
            results.push((to_json(&result.record), png));
        }
        Ok(results)
    }
}

/// The folder of an evaluation, open for one writer.
#[pyclass(module = "ttsvar._native")]
pub(crate) struct Log {
    inner: eval::Log,
}

#[pymethods]
impl Log {
    #[staticmethod]
    fn open(
        py: Python<'_>,
        folder: PathBuf,
        evaluation: &Evaluation,
        resume: bool,
    ) -> PyResult<Self> {
        let opened = eval::Log::open(&folder, &evaluation.setup, &evaluation.suite, resume);
        let inner = raised(py, opened)?;
        raised(
            py,
            ResultTables::check_folder(&folder, &CostModel::built_in()),
        )?;
        Ok(Self { inner })
    }

    /// What was odd in the folder, one text each.
    fn notes(&self) -> Vec<String> {
        self.inner.notes().to_vec()
    }

    /// Writes the record of an image.
    fn add(&mut self, py: Python<'_>, evaluation: &Evaluation, record: &str) -> PyResult<()> {
        let record: ResultRecord = raised(py, read(record, "the record of an image"))?;
        raised(py, self.inner.add(record, &evaluation.suite))
    }

    /// The number of images in the log.
    fn __len__(&self) -> usize {
        self.inner.records().len()
    }
}

fn read<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::input(format!("this is not {what}: {error}")))
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records and setups are JSON")
}
