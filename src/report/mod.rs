//! Traces and results as something to look at: the tree of a search, charts, contact sheets, and what an image file says
//! about its origin.

mod canvas;
mod markup;
pub mod plot;
pub mod record;
pub mod sheet;
mod text;
pub mod tree;
pub mod verdicts;

pub use plot::Chart;
pub use record::Record;
pub use tree::Tree;
