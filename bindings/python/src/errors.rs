//! Errors of the library as Python's own exceptions, and exceptions of Python code on their way
//! through the library.

use pyo3::{
    PyErr, PyResult, Python,
    exceptions::{PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError},
    types::PyAnyMethods,
};
use ttsvar::{Error, ErrorKind, search};

/// The result with Python's exception in place of the error.
pub(crate) fn raised<T, E: Into<Error>>(py: Python<'_>, result: Result<T, E>) -> PyResult<T> {
    result.map_err(|error| exception(py, error.into()))
}

/// An exception of the caller's code as an error of the library; [`raised`] gives it back as it
/// was.
pub(crate) fn external(error: PyErr) -> search::Error {
    search::Error::external(error)
}

/// `ValueError` for what the caller can put right, `OSError` where the system refused,
/// `RuntimeError` for the rest. The hint is a note of the exception, or follows the message where
/// Python has no notes yet (3.10).
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
            // With number, text and path, Python itself chooses FileNotFoundError, PermissionError
            // and so on.
            Some(number) => PyOSError::new_err((number, plain(&source), path)),
            None => PyOSError::new_err(text),
        },
        error => match error.kind() {
            ErrorKind::Input => PyValueError::new_err(text),
            ErrorKind::System => PyOSError::new_err(text),
            ErrorKind::Interrupted => PyKeyboardInterrupt::new_err(()),
            ErrorKind::Internal | ErrorKind::External => PyRuntimeError::new_err(text),
        },
    };
    match hint
        .filter(|_| notes)
        .map(|hint| exception.value(py).call_method1("add_note", (hint,)))
    {
        Some(Err(worse)) => worse,
        _ => exception,
    }
}

/// What the system said, without the number at the end.
fn plain(source: &std::io::Error) -> String {
    let text = source.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
