//! Reports: the tree of a search, HTML pages, tables, charts, contact sheets, and the metadata of
//! image files.

mod album;
mod canvas;
mod clusters;
mod command;
pub mod curves;
mod event_file;
mod generations;
pub mod html;
pub mod numbers;
mod parameters;
pub mod plot;
pub mod provenance;
pub mod result_charts;
pub mod result_tables;
pub mod sheet;
pub mod table;
mod text;
pub mod tree;

pub use album::Album;
pub use command::{EDIT, EXTERNAL, unrecorded_flags};
pub use parameters::Parameters;
pub use plot::Chart;
pub use provenance::Provenance;
pub use result_tables::ResultTables;
