//! Which candidates go on: plans, the loop that carries them out, and the record of what happened.
//!
//! A [`Plan`] is a whole search method as data, [`run()`] follows it, [`Event`]s tell how it goes,
//! the [`Trace`] keeps how it went. There are no tensors in here, no files and no printing.

pub mod blend;
pub mod diverse;
pub mod event;
pub mod kmeans;
pub mod method;
mod names;
pub mod number;
pub mod plan;
mod plan_file;
pub mod potential;
pub mod resample;
pub mod run;
pub mod tools;
pub mod top;
pub mod trace;
pub mod warning;

pub use blend::{Blend, Weighted};
pub use event::{Event, Fate, Listener, Silent};
pub use method::{Method, Schedule};
pub use plan::{Choices, Draw, MAX_ROWS, Plan, Select, Stage};
pub use potential::Potential;
pub use run::{Finished, Outcome, run};
pub use tools::Search;
pub use trace::{Candidate, Choice, Cost, Final, Scored, Seconds, Trace};
pub use warning::Warning;
