//! Python callables as scorers and feature extractors.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use ttsvar::search::{self, Extractor, Features, Image, Matrix, Plan, Scorer};

use crate::{arrays, errors::external};

/// `callable(prompt, images) -> scores`: images are (B, H, W, 3) uint8, scores (B,).
pub(crate) struct PythonScorer(pub Py<PyAny>);

impl Scorer for PythonScorer {
    fn score(&self, prompt: &str, images: &[Image]) -> search::Result<Vec<f32>> {
        let call = |py: Python<'_>| {
            let found = self
                .0
                .bind(py)
                .call1((prompt, arrays::batch(py, images)?))?;
            arrays::numbers(&found, images.len(), "what the scorer returned")
        };
        Python::attach(call).map_err(external)
    }

    fn flops(&self, _images: usize) -> f64 {
        0.0 // unknown
    }
}

/// `callable(images) -> features`: images are (B, H, W, 3) uint8, features (B, D).
struct PythonExtractor(Py<PyAny>);

impl Extractor for PythonExtractor {
    fn extract(&self, images: &[Image]) -> search::Result<Matrix> {
        let call = |py: Python<'_>| {
            let found = self.0.bind(py).call1((arrays::batch(py, images)?,))?;
            arrays::rows(&found, images.len(), "what the extractor returned")
        };
        let (width, data) = Python::attach(call).map_err(external)?;
        Ok(Matrix::new(images.len(), width, data))
    }

    fn flops(&self, _images: usize) -> f64 {
        0.0 // unknown
    }
}

/// The callable as the extractor of every kind of features that the plan names.
pub(crate) fn extractors(
    callable: &Bound<'_, PyAny>,
    plan: &Plan,
) -> BTreeMap<Features, Box<dyn Extractor>> {
    let mut extractors: BTreeMap<Features, Box<dyn Extractor>> = BTreeMap::new();
    for kind in plan.features() {
        let extractor = PythonExtractor(callable.clone().unbind());
        extractors.insert(kind, Box::new(extractor));
    }
    extractors
}

/// The name of a callable, or else of its class, with its module.
pub(crate) fn name(callable: &Bound<'_, PyAny>) -> String {
    qualified_name(callable)
        .or_else(|_| qualified_name(callable.get_type().as_any()))
        .unwrap_or_else(|_| "callable".to_owned())
}

fn qualified_name(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let module: String = object.getattr("__module__")?.extract()?;
    let name: String = object.getattr("__qualname__")?.extract()?;
    Ok(format!("{module}.{name}"))
}
