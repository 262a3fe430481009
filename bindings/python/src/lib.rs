//! The native half of the Python package. What people import is in `python/ttsvar`; here a loaded
//! model searches, scores and evaluates, with numpy arrays for images and text for everything else.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod arrays;
mod callables;
mod errors;
mod evaluation;
mod listener;
mod options;
mod system;

/// `ttsvar._native`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::evaluation::{Evaluation, Log};

    #[pymodule_export]
    use super::{
        options::option_names,
        system::{System, png, slug, write},
    };

    #[pymodule_export]
    const VERSION: &str = ttsvar::VERSION;
}
