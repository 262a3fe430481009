//! Python callables as scorers and feature extractors of the library.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use ttsvar::search::{self, Extractor, Features, Image, Matrix, Plan, Scorer};

use crate::{arrays, errors::external};

/// `callable(prompt, images) -> scores`: images are (B, H, W, 3) uint8, scores (B,).
pub(crate) struct OwnScorer(pub Py<PyAny>);

impl Scorer for OwnScorer {
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
        0.0 // nobody counted
    }
}

/// `callable(images) -> features`: images are (B, H, W, 3) uint8, features (B, D).
struct OwnExtractor(Py<PyAny>);

impl Extractor for OwnExtractor {
    fn extract(&self, images: &[Image]) -> search::Result<Matrix> {
        let call = |py: Python<'_>| {
            let found = self.0.bind(py).call1((arrays::batch(py, images)?,))?;
            arrays::rows(&found, images.len(), "what the extractor returned")
        };
        let (width, data) = Python::attach(call).map_err(external)?;
        Ok(Matrix::new(images.len(), width, data))
    }

    fn flops(&self, _images: usize) -> f64 {
        0.0 // nobody counted
    }
}

/// The callable wherever the plan clusters, whatever features it names.
pub(crate) fn extractors(
    callable: &Bound<'_, PyAny>,
    plan: &Plan,
) -> BTreeMap<Features, Box<dyn Extractor>> {
    let own = |kind| {
        (
            kind,
            Box::new(OwnExtractor(callable.clone().unbind())) as Box<dyn Extractor>,
        )
    };
    plan.features().into_iter().map(own).collect()
}

/// What a callable goes by: module and name of its own, or of its class.
pub(crate) fn name(callable: &Bound<'_, PyAny>) -> String {
    let part = |of: &Bound<'_, PyAny>, name: &str| {
        of.getattr(name)
            .and_then(|text| text.extract::<String>())
            .ok()
    };
    let full = |of: &Bound<'_, PyAny>| {
        Some(format!(
            "{}.{}",
            part(of, "__module__")?,
            part(of, "__qualname__")?
        ))
    };
    full(callable)
        .or_else(|| full(callable.get_type().as_any()))
        .unwrap_or_else(|| "callable".to_owned())
}
