//! What a search looks like: its images, collected while it runs, as a tree and as a page.

use pyo3::prelude::*;
use ttsvar::{
    report::{self, html, tree},
    search::Trace,
};

use crate::{arrays, errors::raised};

/// Small images of the candidates that a search decoded.
#[pyclass(frozen, module = "ttsvar._native")]
pub(crate) struct Album(pub report::Album);

/// The places of the finished images in a trace, best first.
#[pyfunction]
pub(crate) fn ranking(py: Python<'_>, trace: &str) -> PyResult<Vec<usize>> {
    Ok(raised(py, Trace::from_json(trace))?.ranking())
}

/// The tree of a search as an image (H, W, 3). Without an album, the winner is its only image.
#[pyfunction]
#[pyo3(name = "tree", signature = (trace, winner, album=None))]
pub(crate) fn draw_tree<'py>(
    py: Python<'py>,
    trace: &str,
    winner: &Bound<'py, PyAny>,
    album: Option<&Bound<'py, Album>>,
) -> PyResult<Bound<'py, PyAny>> {
    let trace = raised(py, Trace::from_json(trace))?;
    let album = album_or_winner(winner, album)?;
    let image = py.detach(|| tree::picture(&trace, &album));
    arrays::image(py, &image)
}

/// The search as a page of HTML.
#[pyfunction]
#[pyo3(signature = (trace, winner, album=None))]
pub(crate) fn page<'py>(
    py: Python<'py>,
    trace: &str,
    winner: &Bound<'py, PyAny>,
    album: Option<&Bound<'py, Album>>,
) -> PyResult<String> {
    let trace = raised(py, Trace::from_json(trace))?;
    let album = album_or_winner(winner, album)?;
    let page = py.detach(|| html::search::page(&trace, &album));
    raised(py, page)
}

/// A given album, or one of the winner alone.
fn album_or_winner(
    winner: &Bound<'_, PyAny>,
    album: Option<&Bound<'_, Album>>,
) -> PyResult<report::Album> {
    match album {
        Some(album) => Ok(album.get().0.clone()),
        None => {
            let mut album = report::Album::default();
            album.crown(&arrays::to_image(winner)?);
            Ok(album)
        }
    }
}
