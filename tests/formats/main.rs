//! Weight files, bundles, tokenizers and images: valid ones load, damaged and hostile ones are
//! refused.

mod bundles;
mod gguf;
mod hostile_weights;
mod images;
mod mmdet_names;
mod odd_tensors;
mod old_weights;
mod state_dicts;
#[path = "../support/mod.rs"]
mod support;
mod tokenizers;
mod weights;
