//! The keyword arguments of a search as the library's own request. Names are those of the command
//! line.

use std::{path::Path, str::FromStr};

use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyDict, PyMapping},
};
use ttsvar::{
    Error,
    request::{Look, Named, Source, Wish, plan_file, preview},
    search::{DecodeSize, Plan, StageOptions},
};

use crate::errors::raised;

/// What was asked for.
pub(crate) struct Options {
    pub wish: Wish,
    pub look: Look,
    pub preview: DecodeSize,
    pub negative: Option<String>,
}

impl Options {
    /// Reads the arguments that were given; the caller has made sure of their names.
    pub(crate) fn read(given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let given = Given(given);
        let choices = StageOptions {
            features: given.named("features")?,
            potential: given.named("potential")?,
            lambda: given.value("lambda")?,
            draw: given.named("draw")?,
        };
        let wish = Wish {
            source: given.source()?,
            choices,
        };
        let look = given.look()?;
        let py = given.0.py();
        raised(py, wish.check())?;
        let size = given.text("preview")?;
        let negative = given
            .value::<String>("negative")?
            .filter(|negative| !negative.trim().is_empty());
        Ok(Self {
            wish,
            look,
            preview: raised(py, preview(size.as_deref()))?,
            negative,
        })
    }
}

/// Arguments by name; those that are None or not there were not given.
struct Given<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'py> Given<'_, 'py> {
    fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    fn value<T: FromPyObjectOwned<'py>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        value.extract().map(Some).map_err(|error: T::Error| {
            let (py, error): (_, PyErr) = (self.0.py(), error.into());
            PyErr::from_type(error.get_type(py), format!("{name}: {}", error.value(py)))
        })
    }

    /// A text, or a number as one.
    fn text(&self, name: &str) -> PyResult<Option<String>> {
        self.get(name)?
            .map(|value| Ok(value.str()?.to_string()))
            .transpose()
    }

    /// A name that the library knows.
    fn named<T: FromStr<Err: Into<Error>>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(text) = self.value::<String>(name)? else {
            return Ok(None);
        };
        raised(self.0.py(), text.parse()).map(Some)
    }

    /// The plan, or else the method.
    fn source(&self) -> PyResult<Source> {
        let named = Named {
            method: self.named("method")?,
            n: self.value("n")?,
            schedule: self.named("schedule")?,
        };
        match self.get("plan")? {
            None => Ok(Source::Method(named)),
            Some(_) if named != Named::default() => Err(PyValueError::new_err(
                "a plan says all of its widths itself: leave method, n and schedule out",
            )),
            Some(plan) => Ok(Source::Plan(self.plan(&plan)?, Named::default())),
        }
    }

    /// A dictionary with the keys of a plan file, the text of one, or its path.
    fn plan(&self, plan: &Bound<'py, PyAny>) -> PyResult<Plan> {
        let py = self.0.py();
        if plan.cast::<PyMapping>().is_ok() {
            let plain = py.import("builtins")?.call_method1("dict", (plan,))?;
            let text: String = py
                .import("json")?
                .call_method1("dumps", (plain,))?
                .extract()?;
            return serde_json::from_str(&text)
                .map_err(|error| PyValueError::new_err(format!("plan: {error}")));
        }
        let text: String = py
            .import("os")?
            .call_method1("fspath", (plan,))?
            .extract()?;
        // Every plan says `start = ROWS`, and no one has such a file name.
        raised(
            py,
            if text.contains('=') {
                Plan::from_toml(&text).map_err(Error::from)
            } else {
                plan_file(Path::new(&text))
            },
        )
    }

    fn look(&self) -> PyResult<Look> {
        let look = Look {
            cfg: self.value("cfg")?,
            cfg_layer: self.value("cfg_layer")?,
            tau: self.value("tau")?,
            top_p: self.value("top_p")?,
            top_k: self.value("top_k")?,
            aspect: self.named("aspect")?,
            pixels: self.named("pixels")?,
        };
        raised(self.0.py(), look.check())?;
        Ok(look)
    }
}
