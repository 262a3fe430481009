//! Listens to a search: lets Ctrl-C through, and tells a Python callable what happens, each event a
//! dictionary.

use pyo3::prelude::*;
use ttsvar::search::{self, Event, Listener};

use crate::{arrays, errors::external};

/// Someone in Python who may want to know.
pub(crate) struct PythonListener {
    /// Called with every event; what it raises ends the search.
    pub callable: Option<Py<PyAny>>,
    /// Decode all rows after every scale, for the callable to see.
    pub decode_all: bool,
}

impl Listener for PythonListener {
    fn on(&mut self, event: &Event<'_>) -> search::Result<()> {
        let hear = |py: Python<'_>| {
            py.check_signals()?;
            let Some(callable) = &self.callable else {
                return Ok(());
            };
            callable
                .bind(py)
                .call1((dictionary(py, event)?,))
                .map(|_| ())
        };
        Python::attach(hear).map_err(external)
    }

    fn wants_images(&self, _scale: usize) -> bool {
        self.decode_all
    }
}

/// The event with the names and fields of the server's event streams. Images are arrays, and the
/// names of fields that differed in earlier versions are kept beside the present ones.
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
        | Event::ScaleBegun { .. }
        | Event::ScaleDone { .. }
        | Event::Scored { .. } => {}
    }
    Ok(fields)
}
