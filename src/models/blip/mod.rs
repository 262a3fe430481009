//! BLIP: a vision transformer, and a BERT that reads a prompt while looking at what it saw (arXiv 2201.12086).
//!
//! Reference: salesforce/BLIP, `models/{vit,med,blip_pretrain}.py`, as ImageReward uses it.

mod text_encoder;
mod visual_encoder;

pub use text_encoder::{Prompt, TextConfig, TextEncoder};
pub use visual_encoder::VisualEncoder;
