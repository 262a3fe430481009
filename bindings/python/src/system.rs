//! A loaded model: searches and scores.

use std::{collections::BTreeMap, path::PathBuf};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use serde_json::{Map, Value, json};
use ttsvar::{
    Error,
    bundle::{self, Settings},
    file,
    report::Provenance,
    request::{self, Look, Named, recorded, system},
    search::{
        self, DecodeSize, Extractor, Features, Outcome, Pipeline, Plan, Prompt, Search, Trace,
    },
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
    #[pyo3(signature = (model, weights, dtype, device, scorer=None))]
    fn open(
        py: Python<'_>,
        model: String,
        weights: Option<PathBuf>,
        dtype: &str,
        device: &str,
        scorer: Option<&str>,
    ) -> PyResult<Self> {
        let judging = raised(py, scorer.map(str::parse).transpose())?;
        let open = || {
            system::open_judged(
                &model,
                weights.as_deref(),
                judging.as_ref(),
                true,
                dtype,
                device,
            )
        };
        Ok(Self {
            inner: raised(py, py.detach(open))?,
            model,
        })
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
        let prompt = raised(py, request::prompt(prompt, "the prompt"))?;
        let order = self.order(options, scorer, extractor)?;
        let mut ears = Ears {
            callable: listener,
            decode_all,
        };
        let outcome = py.detach(|| order.follow(&self.inner, prompt, seed, &mut ears));
        found(py, &raised(py, outcome)?)
    }

    /// What a search with these options would record of itself before it runs, as JSON with the
    /// keys of a trace.
    #[pyo3(signature = (options, scorer=None, extractor=None))]
    fn described(
        &self,
        options: &Bound<'_, PyDict>,
        scorer: Option<Bound<'_, PyAny>>,
        extractor: Option<Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let Order {
            plan,
            preview,
            negative,
            settings,
            ..
        } = self.order(options, scorer, extractor)?;
        let preview = match preview {
            DecodeSize::Preview(pixels) => Some(pixels),
            DecodeSize::Full => None,
        };
        let described = json!({
            "version": ttsvar::VERSION, "negative": negative, "plan": plan, "preview": preview, "settings": settings,
        });
        Ok(described.to_string())
    }

    /// The scores of images (H, W, 3) by the first of the scorers.
    fn score<'py>(
        &self,
        py: Python<'py>,
        prompt: &str,
        images: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let images = images
            .iter()
            .map(arrays::picture)
            .collect::<PyResult<Vec<_>>>()?;
        let scores = py.detach(|| self.inner.scorer().score(prompt, &images));
        arrays::scores(py, &raised(py, scores)?)
    }
}

impl System {
    /// What a search of this system records of what was asked for.
    pub(crate) fn recorded(
        &self,
        named: Named,
        look: &Look,
        settings: &Settings,
    ) -> Map<String, Value> {
        recorded(&self.inner, &self.model, named, look, settings)
    }

    /// What the options mean for this model.
    fn order(
        &self,
        options: &Bound<'_, PyDict>,
        scorer: Option<Bound<'_, PyAny>>,
        extractor: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Order<'_>> {
        let py = options.py();
        let Options {
            wish,
            look,
            preview,
            negative,
        } = Options::read(options)?;
        let painted = look.settings(self.inner.defaults());
        let pipeline = raised(py, self.inner.pipeline(&painted))?;
        let (plan, named) = raised(
            py,
            wish.plan(pipeline.scales().len(), self.inner.defaults()),
        )?;
        let mut settings = self.recorded(named, &look, &painted);
        if scorer.is_some() {
            settings.remove("scorers");
        }
        for (what, own) in [("scorer", &scorer), ("extractor", &extractor)] {
            settings.extend(
                own.as_ref()
                    .map(|own| (what.to_owned(), callables::name(own).into())),
            );
        }
        Ok(Order {
            pipeline,
            preview,
            negative,
            settings,
            extractors: extractor.map(|own| callables::extractors(&own, &plan)),
            scorer: scorer.map(|own| OwnScorer(own.unbind())),
            plan,
        })
    }
}

/// A search that was asked for. Scorer and extractors are the caller's own, where there are any.
struct Order<'a> {
    pipeline: Box<dyn Pipeline + 'a>,
    plan: Plan,
    preview: DecodeSize,
    negative: Option<String>,
    settings: Map<String, Value>,
    scorer: Option<OwnScorer>,
    extractors: Option<BTreeMap<Features, Box<dyn Extractor>>>,
}

impl Order<'_> {
    fn follow(
        &self,
        system: &bundle::System,
        text: String,
        seed: u64,
        ears: &mut Ears,
    ) -> ttsvar::Result<Outcome> {
        let pipeline = self.pipeline.as_ref();
        let extractors = self.extractors.as_ref().unwrap_or(system.extractors());
        let mut search = match &self.scorer {
            Some(own) => Search::new(pipeline, own, extractors),
            None => Search {
                extractors,
                ..request::search(system, pipeline)
            },
        };
        (search.preview, search.settings) = (self.preview, self.settings.clone());
        let prompt = Prompt {
            text,
            negative: self.negative.clone(),
        };
        Ok(search::run(&search, &prompt, &self.plan, seed, ears)?)
    }
}

/// The file of a search's best image: a PNG that carries how it came about, as the command line
/// writes it.
#[pyfunction]
pub(crate) fn png<'py>(
    py: Python<'py>,
    image: &Bound<'py, PyAny>,
    trace: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let trace = raised(py, Trace::from_json(trace))?;
    let file = Provenance::from_trace(&trace)
        .beside(arrays::picture(image)?)
        .encode();
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
    let images = outcome
        .finished
        .iter()
        .map(|finished| arrays::image(py, &finished.image));
    Ok((
        images.collect::<PyResult<_>>()?,
        outcome.trace.to_json(),
        outcome.best,
    ))
}
