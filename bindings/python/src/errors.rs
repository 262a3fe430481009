//! Errors of the library as Python exceptions, and Python exceptions as errors of the library.

use pyo3::{
    PyErr, PyResult, Python,
    exceptions::{PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError},
    types::PyAnyMethods,
};
use ttsvar::{Error, ErrorKind, search};

/// Converts the error of a result to a Python exception.
pub(crate) fn raised<T, E: Into<Error>>(py: Python<'_>, result: Result<T, E>) -> PyResult<T> {
    result.map_err(|error| exception(py, error.into()))
}

/// An exception of the caller's code as an error of the library. [`raised`] returns it unchanged.
pub(crate) fn external(error: PyErr) -> search::Error {
    search::Error::external(error)
}

/// Returns `ValueError` for errors that the caller can correct, `OSError` for refusals of the
/// system and `RuntimeError` for everything else. The hint becomes a note of the exception, or
/// follows the message in Python 3.10, which has no notes.
fn exception(py: Python<'_>, error: Error) -> PyErr {
    let hint = error.hint().map(|hint| format!("hint: {hint}"));
    let notes = py.version_info() >= (3, 11);
    let text = match &hint {
        Some(hint) if !notes => format!("{error}\n{hint}"),
        _ => error.to_string(),
    };
    let exception = match error {
        Error::Search(search::Error::External(error)) => match error.downcast::<PyErr>() {
            Ok(error) => return *error,
            Err(error) => PyRuntimeError::new_err(error.to_string()),
        },
        Error::Io { path, source } => match source.raw_os_error() {
            // With number, text and path, Python chooses the subclass, such as FileNotFoundError
            Some(number) => PyOSError::new_err((number, without_number(&source), path)),
            None => PyOSError::new_err(text),
        },
        error => match error.kind() {
            ErrorKind::Input => PyValueError::new_err(text),
            ErrorKind::System => PyOSError::new_err(text),
            ErrorKind::Interrupted => PyKeyboardInterrupt::new_err(()),
            ErrorKind::Internal | ErrorKind::External => PyRuntimeError::new_err(text),
        },
    };
    if notes
        && let Some(hint) = hint
        && let Err(error) = exception.value(py).call_method1("add_note", (hint,))
    {
        return error;
    }
    exception
}

/// The system's message without the number at the end.
fn without_number(source: &std::io::Error) -> String {
    let text = source.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
