//! Switti (arXiv 2412.01819): a transformer that draws codes scale by scale as VAR does, with
//! cross-attention to a text. The published models come in two variants: plain ones attend within a
//! scale only, so that nothing but the running sum of codes leads from one scale to the next; the
//! others (`AR`) also attend to all earlier scales.
//!
//! Reference: yandex-research/switti at 3b286b58, `models/switti.py`, `models/basic_switti.py`
//! (blocks), `models/rope.py` and `models/pipeline.py` (guidance, crop condition).

mod attention;
mod block;
mod config;
mod crop;
mod transformer;

pub use block::Part;
pub use config::{Config, SwittiConfig};
pub use crop::{CropEmbedding, crop_of};
pub use transformer::{Condition, Context, ScaleRun, Switti};
