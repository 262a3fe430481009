//! The listener of a search: checks for Ctrl-C and passes each event to a Python callable, as a
//! dictionary.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use pyo3::prelude::*;
use ttsvar::{
    interrupt,
    report::Album,
    search::{self, Event, Listener},
};

use crate::{arrays, errors::external};

/// The time between two checks for Ctrl-C: each needs the interpreter, which other threads may use.
const PAUSE: Duration = Duration::from_millis(100);

/// Does work without the interpreter that Ctrl-C ends between two layers of a network.
pub(crate) fn interruptible<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let last = Cell::new(Instant::now());
        let check = move || {
            if last.get().elapsed() < PAUSE {
                return Ok(());
            }
            last.set(Instant::now());
            Python::attach(|py| py.check_signals()).map_err(external)
        };
        interrupt::with_check(check, work)
    })
}

/// Passes events to Python.
pub(crate) struct PythonListener {
    /// Called with every event. An exception that it raises ends the search.
    pub callable: Option<Py<PyAny>>,
    /// Decodes all candidates after every scale, so that the callable receives their images.
    pub decode_all: bool,
    /// Collects the images for a tree.
    pub album: Album,
}

impl Listener for PythonListener {
    fn on(&mut self, event: &Event<'_>) -> search::Result<()> {
        self.album.on(event)?;
        let pass_on = |py: Python<'_>| {
            py.check_signals()?;
            let Some(callable) = &self.callable else {
                return Ok(());
            };
            callable
                .bind(py)
                .call1((dictionary(py, event)?,))
                .map(|_| ())
        };
        Python::attach(pass_on).map_err(external)
    }

    fn wants_images(&self, _scale: usize) -> bool {
        self.decode_all
    }
}

/// The event, with the names and fields of the server's event streams. Images are arrays. Fields
/// that had other names in earlier versions are present under both names.
fn dictionary<'py>(py: Python<'py>, event: &Event<'_>) -> PyResult<Bound<'py, PyAny>> {
    let loads = py.import("json")?.getattr("loads")?;
    let fields = loads.call1((event.to_json().to_string(),))?;
    fields.set_item("event", event.name())?;
    match event {
        Event::Decoded { images, .. } => fields.set_item("images", arrays::batch(py, images)?)?,
        Event::Selected { fates, .. } => {
            let children: Vec<_> = fates
                .iter()
                .map(|outcome| (outcome.id, outcome.children.clone()))
                .collect();
            fields.set_item("children", children)?;
        }
        Event::Warned(warning) => fields.set_item("text", warning.to_string())?,
        Event::Finished { trace, image } => {
            fields.set_item("winner", trace.winner)?;
            fields.set_item("image", arrays::image(py, image)?)?;
        }
        Event::Started { .. }
        | Event::Steered { .. }
        | Event::ScaleBegun { .. }
        | Event::ScaleDone { .. }
        | Event::Scored { .. } => {}
    }
    Ok(fields)
}
