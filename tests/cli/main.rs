//! The program as it is typed: what it prints, which files it writes, what it refuses.

mod classes;
mod collecting;
mod compbench;
mod converting;
mod desk;
mod doctor;
mod editing;
mod evaluating;
mod examples;
mod fetching;
mod flexar;
mod foreign_files;
mod generating;
mod geneval;
mod habits;
mod hostile_text;
#[cfg(unix)]
mod interrupt;
mod manual;
mod measuring;
mod memory;
mod mixing;
#[cfg(unix)]
mod odd_files;
mod options;
mod outlook;
mod questions;
mod refusals;
mod refused_files;
mod relations;
mod repeating;
mod scoring;
mod standard_output;
mod steering;
#[path = "../support/mod.rs"]
mod support;
mod switti;
mod trained_weights;
mod verifying;
mod weights;
