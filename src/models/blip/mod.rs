//! BLIP: a vision transformer, and a BERT that encodes a prompt with cross-attention to its output
//! (arXiv 2201.12086).
//!
//! Reference: salesforce/BLIP at commit 056a169, `models/vit.py` (lines 23-200), `models/med.py`
//! (52-547, 571-955) and `models/blip_vqa.py` (10-148). ImageReward (THUDM/ImageReward at commit
//! c1392c6, `ImageReward/models/BLIP`) and T2I-CompBench (Karine-Huang/T2I-CompBench at commit
//! 1b70949, `BLIPvqa_eval/models`) contain copies of these files.

mod latent_encoder;
mod text_encoder;
mod visual_encoder;
mod vqa;

pub use latent_encoder::LatentEncoder;
pub use text_encoder::{Prompt, TextConfig, TextEncoder};
pub use visual_encoder::VisualEncoder;
pub use vqa::BlipVqa;
