//! A loaded model, for searches and scores.

use std::{collections::BTreeMap, path::PathBuf};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use serde_json::{Map, Value, json};
use ttsvar::{
    Error, file, image,
    loading::Notice,
    report::{self, Provenance},
    request::{self, EditInput, Session, recorded},
    search::{self, DecodeSize, Drafts, Extractor, Features, Outcome, Trace, WeightedScorer},
    system::{self, SystemBuilder},
};

use crate::{
    arrays,
    callables::{self, PythonScorer},
    errors::raised,
    listener::{PythonListener, interruptible},
    options,
    report::Album,
};

/// A generator with its scorers and feature extractors.
#[pyclass(frozen, module = "ttsvar._native")]
pub(crate) struct System {
    pub inner: system::System,
}

/// The finished images, the trace as JSON, the index of the winner, and images for a tree.
type SearchResult<'py> = (Vec<Bound<'py, PyAny>>, String, usize, Album);

#[pymethods]
impl System {
    #[staticmethod]
    #[pyo3(signature = (model, weights, dtype, device, scorer=None, state_dict=None, text_dtype=None))]
    fn open(
        py: Python<'_>,
        model: String,
        weights: Option<PathBuf>,
        dtype: &str,
        device: &str,
        scorer: Option<&str>,
        state_dict: Option<String>,
        text_dtype: Option<&str>,
    ) -> PyResult<Self> {
        let builder = SystemBuilder {
            model: Some(model),
            weights,
            scorer: raised(py, scorer.map(str::parse).transpose())?,
            dtype: Some(raised(py, dtype.parse())?),
            text_dtype: raised(py, text_dtype.map(str::parse).transpose())?,
            device: raised(py, device.parse())?,
            state_dict,
            may_lack_parts: true,
            ..SystemBuilder::default()
        };
        Ok(Self {
            inner: raised(py, py.detach(|| builder.open()))?,
        })
    }

    /// What a user should know about the files that were loaded.
    fn notices(&self) -> Vec<String> {
        let notices = self.inner.report().notices().into_iter();
        let text = |notice| match notice {
            Notice::Note(text) | Notice::Warning(text) => text,
        };
        notices.map(text).collect()
    }

    /// The name of the bundle.
    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    /// The vocabulary of the generator, if it is limited.
    #[getter]
    fn words(&self) -> Option<Vec<String>> {
        self.inner.words().map(<[String]>::to_vec)
    }

    /// The names of the classes of the generator, if images are generated from classes.
    #[getter]
    fn classes(&self) -> Option<Vec<String>> {
        let classes = self.inner.classes()?;
        Some(classes.names().map(str::to_owned).collect())
    }

    /// The words of a prompt that the generator does not know.
    fn unknown_words(&self, prompt: &str) -> Vec<String> {
        self.inner.unknown_words(prompt)
    }

    /// The prompt of a search: the given one, or what scorers read of the class in the options.
    fn subject(&self, prompt: Option<&str>, options: &Bound<'_, PyDict>) -> PyResult<String> {
        let py = options.py();
        let search = self.prepare(options, None, None, None)?;
        raised(py, search.session.subject(prompt))
    }

    /// Searches for the best image of a prompt. With `best`, the search must finish as many images.
    /// `edit` is an image and the bytes of a file with the mask of the part to regenerate.
    #[pyo3(signature = (
        prompt, options, seed, scorer=None, extractor=None, listener=None, decode_all=false,
        best=None, edit=None
    ))]
    fn generate<'py>(
        &self,
        py: Python<'py>,
        prompt: Option<&str>,
        options: &Bound<'py, PyDict>,
        seed: u64,
        scorer: Option<Bound<'py, PyAny>>,
        extractor: Option<Bound<'py, PyAny>>,
        listener: Option<Py<PyAny>>,
        decode_all: bool,
        best: Option<usize>,
        edit: Option<(Bound<'py, PyAny>, Bound<'py, PyBytes>)>,
    ) -> PyResult<SearchResult<'py>> {
        let prompt = prompt.map(|text| request::prompt(text, "the prompt"));
        let prompt = raised(py, prompt.transpose())?;
        let edit = edit.map(|(image, mask)| edit_input(&image, &mask));
        let search = self.prepare(options, scorer, extractor, edit.transpose()?)?;
        let prompt = raised(py, search.session.subject(prompt.as_deref()))?;
        if let Some(best) = best {
            raised(py, search.session.check_best(best))?;
        }
        let mut listener = PythonListener {
            callable: listener,
            decode_all,
            album: report::Album::default(),
        };
        let outcome = interruptible(py, || search.run(&prompt, seed, &mut listener));
        search_result(py, &raised(py, outcome)?, listener.album)
    }

    /// The settings that a search for a prompt with these options would record, as JSON with the
    /// keys of a trace.
    #[pyo3(signature = (prompt, options, scorer=None, extractor=None))]
    fn described(
        &self,
        prompt: &str,
        options: &Bound<'_, PyDict>,
        scorer: Option<Bound<'_, PyAny>>,
        extractor: Option<Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let search = self.prepare(options, scorer, extractor, None)?;
        let session = &search.session;
        let described = json!({
            "version": ttsvar::VERSION,
            "negative": session.options().negative,
            "plan": session.plan(),
            "preview": match session.search().preview {
                DecodeSize::Preview(pixels) => Some(pixels),
                DecodeSize::Full => None,
            },
            "settings": search.settings_of(prompt),
        });
        Ok(described.to_string())
    }

    /// Warnings about a prompt that the first scorer does not read to its end.
    fn score_warnings(&self, py: Python<'_>, prompt: &str) -> PyResult<Vec<String>> {
        let Some(reader) = raised(py, self.inner.scorer())?.prompt_reader() else {
            return Ok(vec![]);
        };
        let warning = raised(py, reader.check(prompt, false).map_err(Error::from))?;
        Ok(warning
            .into_iter()
            .map(|warning| format!("{warning}; {}", warning.advice()))
            .collect())
    }

    /// The scores of images (H, W, 3) by the first scorer.
    fn score<'py>(
        &self,
        py: Python<'py>,
        prompt: &str,
        images: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let images = images
            .iter()
            .map(arrays::to_image)
            .collect::<PyResult<Vec<_>>>()?;
        let scorer = raised(py, self.inner.scorer())?;
        let scores = interruptible(py, || scorer.score(prompt, &images));
        arrays::scores(py, &raised(py, scores)?)
    }
}

impl System {
    /// Prepares a search with these options, and with the caller's scorer, extractor and edit if
    /// given.
    fn prepare(
        &self,
        options: &Bound<'_, PyDict>,
        scorer: Option<Bound<'_, PyAny>>,
        extractor: Option<Bound<'_, PyAny>>,
        edit: Option<EditInput>,
    ) -> PyResult<PythonSearch<'_>> {
        let py = options.py();
        let options = options::read(options)?;
        let session = match &scorer {
            // The model's latent verifier predicts another scorer.
            Some(_) => Session::with_drafts(&self.inner, &options, Drafts::default()),
            None => Session::new(&self.inner, &options),
        };
        let mut session = raised(py, session)?;
        if let Some(edit) = edit {
            session = raised(py, interruptible(py, || session.with_edit(edit)))?;
        }
        let mut settings = session.settings();
        for (role, callable) in [("scorer", &scorer), ("extractor", &extractor)] {
            if let Some(callable) = callable {
                recorded::add_external(&mut settings, role, &callables::name(callable));
            }
        }
        Ok(PythonSearch {
            extractors: extractor.map(|callable| callables::extractors(&callable, session.plan())),
            scorer: scorer.map(|callable| PythonScorer(callable.unbind())),
            settings,
            session,
        })
    }
}

/// A search with the caller's scorer and extractors, if given.
struct PythonSearch<'a> {
    session: Session<'a>,
    settings: Map<String, Value>,
    scorer: Option<PythonScorer>,
    extractors: Option<BTreeMap<Features, Box<dyn Extractor>>>,
}

impl PythonSearch<'_> {
    /// The settings that the trace of a prompt records.
    fn settings_of(&self, prompt: &str) -> Map<String, Value> {
        let mut settings = self.settings.clone();
        recorded::keep_questions_about(&mut settings, self.session.options(), prompt);
        settings
    }

    fn run(
        &self,
        prompt: &str,
        seed: u64,
        listener: &mut PythonListener,
    ) -> ttsvar::Result<Outcome> {
        let mut search = self.session.search();
        if let Some(scorer) = &self.scorer {
            search.scorers = vec![WeightedScorer {
                name: "",
                weight: 1.0,
                scorer,
            }];
            search.verifier = None;
        }
        if let Some(extractors) = &self.extractors {
            search.extractors = extractors;
        }
        search.settings = self.settings_of(prompt);
        let prompt = self.session.prompt(prompt);
        Ok(search::run(
            &search,
            &prompt,
            self.session.plan(),
            seed,
            listener,
        )?)
    }
}

/// An image (H, W, 3), and the mask in the bytes of a file.
fn edit_input(image: &Bound<'_, PyAny>, mask: &Bound<'_, PyBytes>) -> PyResult<EditInput> {
    Ok(EditInput {
        image: arrays::to_image(image)?,
        mask: raised(mask.py(), image::decode_mask(mask.as_bytes()))?,
    })
}

/// A finished image, by default the winner, as the command line writes it: a PNG that records how
/// it was generated. `place` is its place in the trace's `finals`.
#[pyfunction]
#[pyo3(signature = (image, trace, place=None))]
pub(crate) fn png<'py>(
    py: Python<'py>,
    image: &Bound<'py, PyAny>,
    trace: &str,
    place: Option<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut trace = raised(py, Trace::from_json(trace))?;
    let finals = trace.finals.clone();
    if let Some(last) = place.and_then(|place| finals.get(place)) {
        trace = trace.of_finished(last.id);
    }
    let file = Provenance::from_trace(&trace)
        .beside(arrays::to_image(image)?)
        .encode();
    Ok(PyBytes::new(py, &raised(py, file)?))
}

/// The warnings in a trace, each with its advice.
#[pyfunction]
pub(crate) fn trace_warnings(py: Python<'_>, trace: &str) -> PyResult<Vec<String>> {
    let trace = raised(py, Trace::from_json(trace))?;
    let warnings = trace.warnings.iter();
    Ok(warnings
        .map(|warning| format!("{warning}; {}", warning.advice()))
        .collect())
}

/// The text of a file, as the command line reads it.
#[pyfunction]
pub(crate) fn read_text(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    raised(py, file::read_text(path))
}

/// A text as part of a file name.
#[pyfunction]
pub(crate) fn slug(text: &str) -> String {
    file::slug(text)
}

/// Writes a file atomically.
#[pyfunction]
pub(crate) fn write(py: Python<'_>, path: PathBuf, bytes: &[u8]) -> PyResult<()> {
    raised(py, file::replace(&path, bytes).map_err(Error::io(&path)))
}

fn search_result<'py>(
    py: Python<'py>,
    outcome: &Outcome,
    album: report::Album,
) -> PyResult<SearchResult<'py>> {
    let images = outcome
        .finished
        .iter()
        .map(|finished| arrays::image(py, &finished.image));
    Ok((
        images.collect::<PyResult<_>>()?,
        outcome.trace.to_json(),
        outcome.best,
        Album(album),
    ))
}
