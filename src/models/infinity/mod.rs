//! Infinity (arXiv 2412.04431): a transformer that predicts an image's bits scale by scale, coarse
//! to fine (`infinity/models/infinity.py`).

mod checkpoint;
mod schedule;
mod transformer;

pub use checkpoint::Config;
pub use schedule::{Pixels, Schedule, TEMPLATES};
pub use transformer::{Guidance, Infinity, ScaleKv, ScaleRun, Text};
