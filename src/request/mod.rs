//! What is asked of a model, in the words of the command line and of plan files, before it is known
//! which model it is: which search, how images are to look, at what size they are judged. Every
//! face reads its own form of it into these.

pub mod look;
pub mod system;
pub mod wish;

pub use look::{Aspect, Look, preview};
pub use system::{fit, open, search};
pub use wish::{Named, Source, Wish, plan_file};

use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::{Map, Value};

use crate::{
    Error, Result,
    bundle::{DType, Settings, System},
};

/// What a system that goes by the name `model` was asked for, as traces, pictures and evaluations
/// record it. Matrices that are not kept in f32 paint other pictures, so that the record has to
/// name them; so do scorers that are not the model's own.
pub fn recorded(
    system: &System,
    model: &str,
    named: Named,
    look: &Look,
    settings: &Settings,
) -> Map<String, Value> {
    let mut recorded = Map::from_iter([("model".to_owned(), Value::from(model))]);
    recorded.extend(named.recorded());
    recorded.extend(look.recorded(settings));
    recorded.extend(
        system
            .judging()
            .map(|judging| ("scorers".to_owned(), judging.to_string().into())),
    );
    if system.dtype() != DType::F32 {
        recorded.insert("dtype".to_owned(), system.dtype().as_str().into());
    }
    recorded
}

/// A prompt without blanks around it; `what` names it in errors.
///
/// # Errors
/// It is empty, or no plain text.
pub fn prompt(text: &str, what: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::input(format!("{what} is empty"))
            .with_hint("say what to paint, such as \"a red circle and a blue square\""));
    }
    if text.contains('\0') {
        return Err(
            Error::input(format!("{what} contains a NUL")).with_hint("prompts are plain text")
        );
    }
    Ok(text.to_owned())
}

/// A seed that nobody has seen before, short enough to type.
pub fn new_seed() -> u64 {
    // The hasher's keys come from the system's random numbers.
    RandomState::new().build_hasher().finish() & u64::from(u32::MAX)
}
