//! Weight files and bundles: valid ones load, damaged and hostile ones are refused.

mod bundles;
mod hostile_weights;
mod mmdet_names;
mod odd_tensors;
mod old_weights;
mod state_dicts;
#[path = "../support/mod.rs"]
mod support;
mod weights;
