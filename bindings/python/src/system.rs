//! A loaded model: searches and scores.

use std::{collections::BTreeMap, path::PathBuf};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use serde_json::{Map, Value, json};
use ttsvar::{
    Error, bundle,
    features::{Extractor, Features},
    file,
    pipelines::{Pipeline, Prompt, Size},
    report::Record,
    request::{self, recorded},
    scorers::Scorer,
    search::{self, Outcome, Plan, Search, Trace},
};

use crate::{
    arrays,
    callables::{self, OwnScorer},
    errors::raised,
    listener::Ears,
    options::Options,
};

/// A generator with the networks that judge its images.
#[pyclass(frozen, module = "ttsvar._native")]
pub(crate) struct System {
    /// As it was asked for, and so recorded.
    pub model: String,
    pub inner: bundle::System,
}

/// The finished images, the trace as JSON, and the place of the winner.
type Found<'py> = (Vec<Bound<'py, PyAny>>, String, usize);

#[pymethods]
impl System {
    #[staticmethod]
    fn open(py: Python<'_>, model: String, weights: Option<PathBuf>, dtype: &str, device: &str) -> PyResult<Self> {
        let inner = py.detach(|| request::open(&model, weights.as_deref(), dtype, device));
        Ok(Self { inner: raised(py, inner)?, model })
    }

    /// The bundle's name.
    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    /// The only words that the generator knows, if they are few.
    #[getter]
    fn words(&self) -> Option<Vec<String>> {
        self.inner.words().map(<[String]>::to_vec)
    }

    /// The words of a prompt that the generator does not know.
    fn unknown_words(&self, prompt: &str) -> Vec<String> {
        self.inner.unknown_words(prompt)
    }

    /// Searches for the best image of a prompt.
    #[pyo3(signature = (prompt, options, seed, scorer=None, extractor=None, listener=None, decode_all=false))]
    fn generate<'py>(
        &self,
        py: Python<'py>,
        prompt: &str,
        options: &Bound<'py, PyDict>,
        seed: u64,
        scorer: Option<Bound<'py, PyAny>>,
        extractor: Option<Bound<'py, PyAny>>,
        listener: Option<Py<PyAny>>,
        decode_all: bool,
    ) -> PyResult<Found<'py>> {
        let text = raised(py, request::prompt(prompt, "the prompt"))?;
        let options = Options::read(options)?;
        let settings = options.look.settings(self.inner.defaults());
        let pipeline = raised(py, self.inner.pipeline(&settings))?;
        let (plan, named) = raised(py, options.wish.plan(pipeline.scales().len(), self.inner.defaults()))?;
        let judges = Judges::new(scorer, extractor, &plan);
        let mut search = judges.search(&self.inner, pipeline.as_ref());
        search.preview = options.preview;
        search.settings = recorded(&self.model, named, &options.look, &settings);
        search.settings.extend(judges.recorded.clone());
        let prompt = Prompt { text, negative: options.negative };
        let mut ears = Ears { callable: listener, decode_all };
        let outcome = py.detach(|| search::run(&search, &prompt, &plan, seed, &mut ears));
        found(py, &raised(py, outcome)?)
    }

    /// What a search with these options would record of itself before it runs, as JSON with the keys of a trace.
    fn described(&self, py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<String> {
        let options = Options::read(options)?;
        let settings = options.look.settings(self.inner.defaults());
        let pipeline = raised(py, self.inner.pipeline(&settings))?;
        let (plan, named) = raised(py, options.wish.plan(pipeline.scales().len(), self.inner.defaults()))?;
        let preview = match options.preview {
            Size::Preview(pixels) => Some(pixels),
            Size::Full => None,
        };
        let settings = recorded(&self.model, named, &options.look, &settings);
        let (negative, version) = (options.negative, ttsvar::VERSION);
        let described = json!({
            "version": version, "negative": negative, "plan": plan, "preview": preview, "settings": settings,
        });
        Ok(described.to_string())
    }

    /// The scores of images (H, W, 3) by the bundle's own scorer.
    fn score<'py>(&self, py: Python<'py>, prompt: &str, images: Vec<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let images = images.iter().map(arrays::picture).collect::<PyResult<Vec<_>>>()?;
        let scores = py.detach(|| self.inner.scorer().score(prompt, &images));
        arrays::scores(py, &raised(py, scores)?)
    }
}

/// Who chooses: the caller's own scorer and extractor, or else the model's.
struct Judges {
    scorer: Option<OwnScorer>,
    extractors: Option<BTreeMap<Features, Box<dyn Extractor>>>,
    /// The names of the caller's own.
    recorded: Map<String, Value>,
}

impl Judges {
    fn new(scorer: Option<Bound<'_, PyAny>>, extractor: Option<Bound<'_, PyAny>>, plan: &Plan) -> Self {
        let own = [("scorer", &scorer), ("extractor", &extractor)];
        let name = |(what, who): (&str, &Option<Bound<'_, PyAny>>)| {
            Some((what.to_owned(), callables::name(who.as_ref()?).into()))
        };
        Self {
            recorded: own.into_iter().filter_map(name).collect(),
            extractors: extractor.map(|own| callables::extractors(&own, plan)),
            scorer: scorer.map(|own| OwnScorer(own.unbind())),
        }
    }

    fn search<'a>(&'a self, system: &'a bundle::System, pipeline: &'a dyn Pipeline) -> Search<'a> {
        let scorer = self.scorer.as_ref().map_or(system.scorer(), |own| own as &dyn Scorer);
        let extractors = self.extractors.as_ref().unwrap_or(system.extractors());
        Search::new(pipeline, scorer, extractors)
    }
}

/// The file of a search's best image: a PNG that carries how it came about, as the command line writes it.
#[pyfunction]
pub(crate) fn png<'py>(py: Python<'py>, image: &Bound<'py, PyAny>, trace: &str) -> PyResult<Bound<'py, PyBytes>> {
    let trace = raised(py, Trace::from_json(trace))?;
    let file = Record::of(&trace).beside(arrays::picture(image)?).encode();
    Ok(PyBytes::new(py, &raised(py, file)?))
}

/// A text as part of a file name.
#[pyfunction]
pub(crate) fn slug(text: &str) -> String {
    file::slug(text)
}

/// Writes a file whole or not at all.
#[pyfunction]
pub(crate) fn write(py: Python<'_>, path: PathBuf, bytes: &[u8]) -> PyResult<()> {
    raised(py, file::replace(&path, bytes).map_err(Error::io(&path)))
}

fn found<'py>(py: Python<'py>, outcome: &Outcome) -> PyResult<Found<'py>> {
    let images = outcome.finished.iter().map(|finished| arrays::image(py, &finished.image));
    Ok((images.collect::<PyResult<_>>()?, outcome.trace.to_json(), outcome.best))
}
