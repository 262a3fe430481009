//! Test-time search over the generation paths of coarse-to-fine image generators.
//!
//! A [`Plan`] is a search method as data, [`run()`] carries it out, [`Event`]s report its progress,
//! and the [`Trace`] records what happened. This crate has no tensors, reads no files and prints
//! nothing: provide a generator ([`Pipeline`] and [`Rollout`]), a [`Scorer`] and, for plans that
//! cluster, an [`Extractor`]. `examples/toy.rs` does all of that in under 90 lines.
//!
//! Start reading at `run.rs`: every method runs through its loop.

pub mod answers;
mod budget;
mod choose;
pub mod diverse;
mod error;
pub mod event;
pub mod features;
mod image;
pub mod kmeans;
mod latent;
mod method;
pub mod mixer;
mod names;
pub mod number;
mod pipeline;
mod plan;
mod plan_error;
mod plan_file;
mod potential;
mod prompt_reader;
pub mod resample;
pub mod rng;
pub mod run;
mod scorer;
mod search;
mod state;
mod steering;
pub mod suggestion;
pub mod ties;
pub mod tokens;
pub mod top;
pub mod trace;
mod trace_check;
mod verifier;
mod warning;
pub mod wrong_value;

pub use answers::{AnsweredQuestion, AnsweredScores, Answers, Question};
pub use budget::Budget;
pub use error::{Error, ErrorKind, Result};
pub use event::{CandidateOutcome, Event, Listener, Silent};
pub use features::{Extractor, Features, Matrix};
pub use image::{Image, half_to_even};
pub use latent::{FeatureMap, Latent};
pub use method::{Drafts, Method, Schedule};
pub use mixer::{ScoreMixer, WeightedScorer};
pub use pipeline::{DecodeSize, Estimate, Pipeline, Prompt, Rollout, Scale, StepCounts, Workload};
pub use plan::{Draw, LAMBDA, MAX_ROWS, Plan, PlanOptions, Select, Stage};
pub use plan_error::PlanError;
pub use potential::Potential;
pub use prompt_reader::PromptReader;
pub use run::{Finished, Outcome, run};
pub use scorer::Scorer;
pub use search::Search;
pub use steering::{Layout, Region, Steering};
pub use tokens::TokenStatistics;
pub use trace::{Candidate, Cost, Final, Scored, Seconds, Selection, StageRecord, Trace};
pub use verifier::{LatentVerifier, Verifier};
pub use warning::Warning;
