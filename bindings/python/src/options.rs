//! The keyword arguments of a search as options of the library, with the same names.

use std::path::Path;

use pyo3::{
    prelude::*,
    types::{PyDict, PyList, PyMapping, PyTuple},
};
use serde_json::{Map, Value};
use ttsvar::{
    Error,
    options::{self, Options, Questions, Steer},
    search::Plan,
};

use crate::errors::raised;

/// The names of all options.
#[pyfunction]
pub(crate) fn option_names() -> Vec<String> {
    Options::names()
}

/// Reads options by name; those that are `None` are unset.
pub(crate) fn read(given: &Bound<'_, PyDict>) -> PyResult<Options> {
    let py = given.py();
    let mut values = Map::new();
    for (name, value) in given {
        if value.is_none() {
            continue;
        }
        let name: String = name.extract()?;
        let value = match name.as_str() {
            "plan" => plan(&value)?,
            "steer" => steer(&value)?,
            "questions" => questions(&value)?,
            _ => json(&value)?,
        };
        values.insert(name, value);
    }
    let mut options = raised(py, Options::from_map(&values))?;
    raised(py, options.check())?;
    options.negative = options
        .negative
        .filter(|negative| !negative.trim().is_empty());
    Ok(options)
}

/// A mapping with the keys of a steering file, the text of one, its path, `auto` or `off`.
fn steer(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = value.py();
    if value.cast::<PyMapping>().is_ok() {
        return mapping(value);
    }
    let text = path_or_text(value)?;
    let steer = match Steer::is_content(&text) {
        true => Steer::from_text(&text),
        false => Steer::from_argument(&text),
    };
    serde_json::to_value(raised(py, steer)?)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}

/// A list of mappings with the keys of a line of a file, the text of a file, its path, or `auto`.
fn questions(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = value.py();
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return json(value);
    }
    let text = path_or_text(value)?;
    let questions = match Questions::is_content(&text) {
        true => Questions::from_text(&text),
        false => Questions::from_argument(&text),
    };
    serde_json::to_value(raised(py, questions)?)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}

/// A mapping as JSON.
fn mapping(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let builtins = value.py().import("builtins")?;
    json(&builtins.call_method1("dict", (value,))?)
}

/// A text, or the text of a path.
fn path_or_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let os = value.py().import("os")?;
    os.call_method1("fspath", (value,))?.extract()
}

/// A mapping with the keys of a plan file, the text of one, or its path.
fn plan(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = value.py();
    if value.cast::<PyMapping>().is_ok() {
        return mapping(value);
    }
    let text = path_or_text(value)?;
    // Every plan contains `start = N`, and paths hardly ever contain `=`
    let plan = match text.contains('=') {
        true => Plan::from_toml(&text).map_err(Error::from),
        false => options::plan_file(Path::new(&text)),
    };
    Ok(Value::String(raised(py, plan)?.to_toml()))
}

/// A Python value, or one of numpy or another library of arrays, as JSON.
fn json(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let plain = match value.hasattr("tolist")? {
        true => value.call_method0("tolist")?,
        false => value.clone(),
    };
    if plain.is_instance_of::<PyList>() || plain.is_instance_of::<PyTuple>() {
        return plain.try_iter()?.map(|one| plain_json(&one?)).collect();
    }
    plain_json(&plain)
}

/// A Python value as JSON.
fn plain_json(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    // JSON cannot represent these; the library reads them as strings
    if let Ok(number) = value.extract::<f64>()
        && !number.is_finite()
    {
        return Ok(Value::String(number.to_string().to_lowercase()));
    }
    let text: String = value
        .py()
        .import("json")?
        .call_method1("dumps", (value,))?
        .extract()?;
    serde_json::from_str(&text)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}
