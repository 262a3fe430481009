//! The names that people type for the choices of a plan: read and written as in plan files.

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
};

/// Gives an enum of plain names `Display` and `FromStr` with the names that serde knows it by.
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
                Self::deserialize(text.into_deserializer()).map_err(|error: Unknown| unknown($what, text, &error))
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
}

/// serde says "unknown variant `x`, expected one of `a`, `b`": the first half in our words, the
/// second as the hint.
fn unknown(what: &str, text: &str, error: &Unknown) -> Error {
    let error = error.to_string();
    let hint = error
        .split_once(", ")
        .map_or("", |(_, names)| names)
        .to_owned();
    Error::input(format!("unknown {what} `{text}`")).with_hint(hint)
}
