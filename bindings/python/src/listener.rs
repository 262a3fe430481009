//! Listens to a search: lets Ctrl-C through, and tells a Python callable what happens, each event a
//! dictionary.

use pyo3::{prelude::*, types::PyDict};
use ttsvar::search::{self, CandidateOutcome, Event, Listener, Scale};

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

/// The event under its name, with the fields of the library's own.
fn dictionary<'py>(py: Python<'py>, event: &Event<'_>) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    match *event {
        Event::Started {
            prompt,
            plan,
            scales,
            widths,
            seed,
        } => {
            all.set_item("event", "started")?;
            all.set_item("prompt", &prompt.text)?;
            all.set_item("negative", &prompt.negative)?;
            all.set_item("plan", plan.to_toml())?;
            all.set_item(
                "scales",
                scales.iter().map(|scale| grid(*scale)).collect::<Vec<_>>(),
            )?;
            all.set_item("widths", widths)?;
            all.set_item("seed", seed)?;
        }
        Event::ScaleBegun {
            scale,
            ids,
            grid: of,
        } => {
            all.set_item("event", "scale_begun")?;
            all.set_item("scale", scale)?;
            all.set_item("ids", ids)?;
            all.set_item("grid", grid(of))?;
        }
        Event::ScaleDone {
            scale,
            rows,
            states,
            seconds,
        } => {
            all.set_item("event", "scale_done")?;
            all.set_item("scale", scale)?;
            all.set_item("rows", rows)?;
            all.set_item("states", states)?;
            all.set_item("seconds", seconds)?;
        }
        Event::Decoded { scale, ids, images } => {
            all.set_item("event", "decoded")?;
            all.set_item("scale", scale)?;
            all.set_item("ids", ids)?;
            all.set_item("images", arrays::batch(py, images)?)?;
        }
        Event::Scored { scale, ids, scores } => {
            all.set_item("event", "scored")?;
            all.set_item("scale", scale)?;
            all.set_item("ids", ids)?;
            all.set_item("scores", scores)?;
        }
        Event::Selected { scale, fates, .. } => {
            let children = |fate: &CandidateOutcome| (fate.id, fate.children.clone());
            all.set_item("event", "selected")?;
            all.set_item("scale", scale)?;
            all.set_item("children", fates.iter().map(children).collect::<Vec<_>>())?;
        }
        Event::Warned(warning) => {
            all.set_item("event", "warned")?;
            all.set_item("text", warning.to_string())?;
        }
        Event::Finished { trace, image } => {
            all.set_item("event", "finished")?;
            all.set_item("winner", trace.winner)?;
            all.set_item("image", arrays::image(py, image)?)?;
        }
    }
    Ok(all)
}

/// Rows and columns of tokens.
fn grid(scale: Scale) -> (usize, usize) {
    (scale.height, scale.width)
}
