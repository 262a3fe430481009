//! HART (arXiv 2410.10812): a transformer that draws codes scale by scale as VAR does, after a text
//! as scale 0, and a diffusion head that draws what the codes of the last scale leave over.
//!
//! Supported are the branches of the published model: blocks as in Llama, without modulation by the
//! text, without cross-attention and without normalised queries.
//!
//! Reference: mit-han-lab/hart at e28a41fe, `hart/modules/models/transformer/hart_transformer_t2i.py`
//! and `hart/modules/networks/basic_hart.py` (transformer), `hart/modules/diffusion` (head).

mod config;
mod diffusion;
mod embedding;
mod transformer;

pub use config::{Config, HartConfig};
pub use diffusion::{DiffusionHead, NoiseSchedule, Step};
pub use transformer::{Condition, Context, Hart, ScaleOutput, ScaleRun, is_guided};
