//! `ttsvar eval`: compares search methods on prompt sets with an evaluator. One file per suite;
//! shared parts are in `context` and `benchmark`.

mod benchmark;
mod compbench;
mod context;
mod geneval;
mod networks;
mod questions;
mod scenes;

pub(super) use compbench::run as compbench;
pub(super) use context::workers;
pub(super) use geneval::run as geneval;
pub(super) use questions::run as questions;
pub(super) use scenes::run as scenes;
