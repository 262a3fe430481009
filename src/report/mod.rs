//! Traces and results as something to look at: the tree of a search, pages, charts, contact sheets,
//! and what an image file says about its origin.

mod album;
mod canvas;
mod clusters;
mod command;
mod generations;
pub mod html;
mod markup;
pub mod numbers;
pub mod plot;
pub mod provenance;
pub mod sheet;
mod text;
pub mod tree;

pub use album::Album;
pub use plot::Chart;
pub use provenance::Provenance;
