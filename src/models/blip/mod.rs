//! BLIP: a vision transformer, and a BERT that reads a prompt while looking at what it saw (arXiv
//! 2201.12086).
//!
//! Reference: salesforce/BLIP, `models/{vit,med,blip_pretrain,blip_vqa}.py`, as ImageReward and
//! T2I-CompBench use it.

mod text_encoder;
mod visual_encoder;
mod vqa;

pub use text_encoder::{Prompt, TextConfig, TextEncoder};
pub use visual_encoder::VisualEncoder;
pub use vqa::BlipVqa;
