//! Weight files, bundles, tokenizers and images: valid ones load, damaged and hostile ones are
//! refused.

mod bundles;
mod hostile_weights;
mod images;
mod mmdet_names;
mod old_weights;
#[path = "../support/mod.rs"]
mod support;
mod tokenizers;
mod weights;
