//! Reports: the tree of a search, HTML pages, charts, contact sheets, and the metadata of image
//! files.

mod album;
mod canvas;
mod clusters;
mod command;
mod generations;
pub mod html;
pub mod numbers;
pub mod plot;
pub mod provenance;
pub mod sheet;
mod text;
pub mod tree;

pub use album::Album;
pub use plot::Chart;
pub use provenance::Provenance;
