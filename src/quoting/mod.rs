//! Text from files, file names and servers, made safe for the place where it is shown: a terminal,
//! a shell, a Markdown page, an SVG.

mod markdown;
mod markup;
mod shell;
mod terminal;

pub use markdown::markdown;
pub use markup::{escaped, without_controls};
pub use shell::{argument, file_argument};
pub use terminal::{json, line, lines, path};
