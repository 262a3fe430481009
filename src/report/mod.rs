//! A trace as something to look at: a picture of the tree, and what an image file says about its origin.

mod canvas;
pub mod record;
mod text;
pub mod tree;

pub use record::Record;
pub use tree::Tree;
