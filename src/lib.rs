//! Test-time scaling of visual autoregressive image generation.
//!
//! Coarse-to-fine models such as Infinity draw an image scale by scale. `ttsvar` treats that as a
//! search over paths: it starts many candidates, keeps them diverse while they are coarse, keeps the
//! promising ones while they become fine, and returns the best image with a complete record of how
//! it was chosen. The method is TTS-VAR (arXiv 2507.18537); Best-of-N, importance sampling and beam
//! search are other [`search::Plan`]s of the same loop.
//!
//! The modules follow the data: [`options`] say what is asked for, [`system`] opens a model,
//! [`request`] sets it up in a [`request::Session`], and [`search`] (the crate `ttsvar-search`) runs
//! it. `ARCHITECTURE.md` says which module may use which. Read on in `cli/generate/mod.rs`.

pub mod options;

pub mod hub;
pub mod image;
pub mod loading;
pub mod nn;
pub mod text;

pub mod features;
pub mod models;
pub mod pipelines;
pub mod scorers;

pub mod request;
pub mod system;
pub use ttsvar_search as search;

pub mod bench;
pub mod collect;
pub mod detectors;
pub mod eval;
pub mod report;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "server")]
pub mod server;

mod clock;
pub mod demo;
pub mod error;
pub mod file;
pub mod hash;
pub mod input;
pub mod interrupt;
pub mod process;
pub mod quoting;
mod threads;

pub use error::{Error, ErrorKind, LoadError, Result};

/// The version of this program, as traces and pictures record it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The examples of the README are compiled by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
