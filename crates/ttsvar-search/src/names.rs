//! The names of the choices in a plan, as plan files and the command line have them.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer, value::Error as Unknown},
};

use crate::{
    Error,
    features::Features,
    method::{Method, Schedule},
    plan::Draw,
    potential::Potential,
    suggestion::suggest,
    verifier::Verifier,
};

/// Implements `Display` and `FromStr` for an enum of plain names, with the names that serde uses.
macro_rules! named {
    ($($kind:ty = $what:literal),* $(,)?) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }

        impl FromStr for $kind {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::deserialize(text.into_deserializer())
                    .map_err(|error: Unknown| unknown($what, text, &error))
            }
        }
    )*};
}

named! {
    Method = "method",
    Schedule = "schedule",
    Features = "kind of features",
    Potential = "potential",
    Draw = "draw",
    Verifier = "verifier",
}

/// Converts serde's message "unknown variant `x`, expected one of `a`, `b`": its list of names
/// becomes the hint.
fn unknown(what: &str, text: &str, error: &Unknown) -> Error {
    let error = error.to_string();
    // The typed name itself may contain anything.
    let expected = error.rfind(", expected ").map_or("", |at| &error[at + 2..]);
    let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    Error::input(format!("unknown {what} `{text}`")).with_hint(suggest(text, &names, expected))
}
