//! Evaluations in pieces, so that they can be spread over machines: what is asked for, one try of
//! it, and the folder with what is known.

use std::path::PathBuf;

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use serde::{Serialize, de::DeserializeOwned};
use ttsvar::{
    Error, Result,
    eval::{
        self, Contender, ResultRecord, SampleTask, Setup, Suite, Summary, pending_samples,
        scenes::Scenes,
    },
    image::Png,
    request::Session,
    search::Search,
};

use crate::{errors::raised, options, system::System};

/// What an evaluation of the demo world's scenes is asked to do. It needs no model to say that.
#[pyclass(frozen, module = "ttsvar._native")]
pub(crate) struct Evaluation {
    setup: Setup,
    suite: Scenes,
}

#[pymethods]
impl Evaluation {
    /// The evaluation of methods at several sizes by a model, set up as `options` say.
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
                "an evaluation chooses its searches itself: leave {name} out"
            ));
            return raised(py, Err(error));
        }
        let plan = || -> ttsvar::Result<Self> {
            let suite = Scenes::new(split.parse()?, prompts, prompt_seed)?;
            let methods = methods
                .iter()
                .map(|name| name.parse())
                .collect::<Result<Vec<_>, ttsvar::search::Error>>()?;
            let session = Session::new(&system.inner, &options)?;
            let contenders = Contender::grid(&methods, &n, session.pipeline().scales().len())?;
            let settings = session.generator_settings();
            Ok(Self {
                setup: Setup::new(suite.described(), settings, &contenders, samples, seed),
                suite,
            })
        };
        raised(py, plan())
    }

    /// The evaluation that a setup of this kind describes.
    #[staticmethod]
    fn of(py: Python<'_>, setup: &str) -> PyResult<Self> {
        let setup: Setup = raised(py, read(setup, "the setup of an evaluation"))?;
        let suite = raised(py, Scenes::from_description(&setup.suite))?;
        Ok(Self { setup, suite })
    }

    /// As it stands in `setup.json`.
    #[getter]
    fn setup(&self) -> String {
        written(&self.setup)
    }

    /// The tries that a log does not know yet, in the order in which they should be done.
    fn tries(&self, log: &Log) -> Vec<String> {
        let Setup {
            contenders,
            samples,
            ..
        } = &self.setup;
        pending_samples(
            self.suite.cases().len(),
            *samples,
            contenders,
            log.inner.records(),
        )
        .iter()
        .map(written)
        .collect()
    }

    /// Paints and judges the images of one try: for each its record and, if wanted, its PNG.
    fn attempt<'py>(
        &self,
        py: Python<'py>,
        system: &System,
        options: &Bound<'py, PyDict>,
        one: &str,
        images: bool,
    ) -> PyResult<Vec<(String, Option<Bound<'py, PyBytes>>)>> {
        let options = options::read(options)?;
        let session = raised(py, Session::new(&system.inner, &options))?;
        if session.generator_settings() != self.setup.settings {
            let error = Error::input("an evaluation with another model or other settings");
            return raised(py, Err(error));
        }
        let one: SampleTask = raised(py, read(one, "a sample of an evaluation"))?;
        let search = session.search();
        let found = py.detach(|| self.judged(&search, &one, images));
        let bytes = |png: Option<Vec<u8>>| png.map(|png| PyBytes::new(py, &png));
        Ok(raised(py, found)?
            .into_iter()
            .map(|(record, png)| (record, bytes(png)))
            .collect())
    }

    /// What the records of a log say, as in `summary.json`.
    fn summary(&self, log: &Log) -> String {
        written(&Summary::new(
            &self.suite,
            self.setup.samples,
            &self.setup.contenders,
            log.inner.records(),
        ))
    }
}

impl Evaluation {
    fn judged(
        &self,
        search: &Search<'_>,
        one: &SampleTask,
        images: bool,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        let Setup {
            contenders,
            samples,
            seed,
            ..
        } = &self.setup;
        let evaluation = eval::Evaluation {
            suite: &self.suite,
            search,
            contenders,
            samples: *samples,
            seed: *seed,
            workers: 1,
        };
        let found = evaluation.run_sample(one)?.map(|judged| {
            let judged = judged?;
            let png = images
                .then(|| Png::new(judged.image).encode())
                .transpose()?;
            Ok((written(&judged.record), png))
        });
        found.collect()
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
        let inner = raised(py, eval::Log::open(&folder, &evaluation.setup, resume))?;
        Ok(Self { inner })
    }

    /// Writes the line of an image.
    fn add(&mut self, py: Python<'_>, record: &str) -> PyResult<()> {
        let record: ResultRecord = raised(py, read(record, "the record of an image"))?;
        raised(py, self.inner.add(record))
    }

    /// How many images are known.
    fn __len__(&self) -> usize {
        self.inner.records().len()
    }
}

fn read<T: DeserializeOwned>(text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::input(format!("this is not {what}: {error}")))
}

fn written<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records and setups are JSON")
}
