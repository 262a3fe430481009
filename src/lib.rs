//! Test-time scaling of visual autoregressive image generation.
//!
//! Coarse-to-fine models such as Infinity paint an image scale by scale. `ttsvar` treats that as a
//! search over paths: it starts many candidates, keeps them diverse while they are coarse, keeps
//! the promising ones while they become fine, and returns the best image together with a complete
//! record of how it was chosen. The method is TTS-VAR (arXiv 2507.18537); Best-of-N, Importance
//! Sampling and beam search are other [`search::Plan`]s of the same loop.
//!
//! The modules are the data flow: [`text`] → [`models`] inside [`pipelines`] → [`image`] →
//! [`scorers`] and [`features`] → [`search`] → [`report`]. `ARCHITECTURE.md` says which may use
//! which.

pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod demo;
pub mod detectors;
pub mod error;
pub mod eval;
pub mod features;
pub mod file;
pub mod hub;
pub mod image;
pub mod loading;
pub mod models;
pub mod nn;
pub mod options;
pub mod pipelines;
pub mod report;
pub mod request;
pub mod scorers;
#[cfg(feature = "server")]
pub mod server;
pub mod system;
pub mod text;

pub use error::{Error, ErrorKind, LoadError, Result};
pub use ttsvar_search as search;

/// The version of this program, as traces and pictures record it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The examples of the README are compiled by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
