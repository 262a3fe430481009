//! Applies options to a model: a [`Session`] resolves them into a plan, a generator and a search,
//! and [`recorded`] writes and reads the settings that images, traces and evaluations record.

mod edit;
mod method;
pub mod recorded;
mod session;

pub use edit::EditInput;
pub use method::MethodSpec;
pub use recorded::Recorded;
pub use session::{Estimate, Session};

pub use crate::options::new_seed;

use crate::{Error, Result};

/// Checks that a request says what an image shows in the way of its model: by a prompt, or by a
/// class.
///
/// # Errors
/// It does not, or says it in both ways.
pub fn check_subject(takes_classes: bool, has_prompt: bool, has_class: bool) -> Result<()> {
    let (message, hint) = match (takes_classes, has_prompt, has_class) {
        (true, false, true) | (false, true, false) => return Ok(()),
        (true, true, _) => (
            "this model is class-conditional: it takes a class, not a prompt",
            "choose a class with --class instead of a prompt, such as --class 207",
        ),
        (true, false, false) => (
            "no class given",
            "choose one by number or name, such as --class 207",
        ),
        (false, _, true) => (
            "this model takes a prompt, not a class",
            "give a prompt instead of --class; only class-conditional models such as var-d30 take classes",
        ),
        (false, false, false) => return Err(no_prompt()),
    };
    Err(Error::input(message).with_hint(hint))
}

/// The error for a request without a prompt to a model that reads prompts.
pub fn no_prompt() -> Error {
    Error::input("no prompt given")
        .with_hint("give a prompt: ttsvar generate \"a red circle and a blue star\"")
}

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
