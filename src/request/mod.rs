//! Applies options to a model: a [`Session`] resolves them into a plan, a generator and a search,
//! and [`recorded`] writes and reads the settings that images, traces and evaluations record.

mod method;
pub mod recorded;
mod session;

pub use method::MethodSpec;
pub use recorded::Recorded;
pub use session::{Estimate, Session};

pub use crate::options::new_seed;

use crate::{Error, Result};

/// A prompt without surrounding white space; `name` names it in errors.
///
/// # Errors
/// It is empty or not plain text.
pub fn prompt(text: &str, name: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::input(format!("{name} is empty"))
            .with_hint("describe the image, such as \"a red circle and a blue star\""));
    }
    if text.contains('\0') {
        return Err(
            Error::input(format!("{name} contains a NUL")).with_hint("prompts are plain text")
        );
    }
    Ok(text.to_owned())
}
