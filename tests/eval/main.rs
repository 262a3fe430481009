//! Evaluations, their suites, reports and benchmarks.

mod bench;
mod compbench;
mod cost_models;
mod geneval;
mod report;
mod runner;
mod scene_labels;
mod scenes;
mod summary;
#[path = "../support/mod.rs"]
mod support;
mod tree;
