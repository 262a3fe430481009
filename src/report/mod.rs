//! A trace as something to look at.

mod canvas;
mod text;
pub mod tree;

pub use tree::Tree;
