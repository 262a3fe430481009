//! Infinity (arXiv 2412.04431): a transformer that predicts an image's bits scale by scale, coarse
//! to fine.
//!
//! Reference: FoundationVision/Infinity at commit 4c27bbb, `infinity/models/infinity.py`, lines
//! 38-364 (text pooling, modulation, embeddings) and 456-643 (`autoregressive_infer_cfg`);
//! `infinity/models/basic.py`, lines 38-117 (rotary embedding), 119-174 (normalisation,
//! feed-forward) and 195-541 (attention, blocks).

mod checkpoint;
mod routing;
mod schedule;
mod transformer;

pub use super::branches::ScaleKv;
pub use checkpoint::Config;
pub use routing::{RegionText, Route, Routing};
pub use schedule::{Pixels, Schedule, TEMPLATES};
pub use transformer::{Guidance, Infinity, ScaleRun, Text};
