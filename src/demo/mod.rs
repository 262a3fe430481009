//! The small demo models, trained by this project and built into the program.

use crate::hub::Embedded;

/// The files of the demo bundle, `bundle.toml` among them.
pub const FILES: Embedded = ttsvar_demo::FILES;
