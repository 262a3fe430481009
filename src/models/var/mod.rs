//! VAR (arXiv 2404.02905): a transformer that predicts the tokens of an image of some class scale by
//! scale, coarse to fine.
//!
//! Reference: FoundationVision/VAR, `models/var.py` (embeddings, `autoregressive_infer_cfg`) and
//! `models/basic_var.py` (attention, feed-forward, modulation).

mod checkpoint;
mod transformer;

pub use checkpoint::Config;
pub use transformer::{Class, ScaleRun, Var};
