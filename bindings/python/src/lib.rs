//! The native half of the Python package: searches, scores and evaluations with a loaded model.
//! Images are numpy arrays, everything else is text. The public interface is in `python/ttsvar`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod arrays;
mod callables;
mod errors;
mod evaluation;
mod hub;
mod listener;
mod options;
mod report;
mod system;

/// `ttsvar._native`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::evaluation::{Evaluation, Log};

    #[pymodule_export]
    use super::{
        hub::{cache_folder, fetch_missing, model_of_repository, released},
        options::option_names,
        report::{Album, draw_tree, page, ranking},
        system::{System, png, read_text, slug, trace_warnings, write},
    };

    #[pymodule_export]
    const VERSION: &str = ttsvar::VERSION;
}
