//! Size of the images that are scored before the last scale.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;
use ttsvar_search::DecodeSize;

use crate::{Error, Result};

/// `full`, or pixels along the shorter side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview(pub DecodeSize);

impl FromStr for Preview {
    type Err = Error;

    fn from_str(written: &str) -> Result<Self> {
        match (written, written.parse::<usize>()) {
            ("full", _) => Ok(Self(DecodeSize::Full)),
            (_, Ok(pixels)) if pixels > 0 => Ok(Self(DecodeSize::Preview(pixels))),
            _ => Err(
                Error::input(format!("`{written}` is not a valid preview size"))
                    .with_hint("give `full`, or the pixels along the shorter side, such as 256"),
            ),
        }
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DecodeSize::Full => f.write_str("full"),
            DecodeSize::Preview(pixels) => write!(f, "{pixels}"),
        }
    }
}

/// A number, or the word `full`.
impl Serialize for Preview {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            DecodeSize::Full => serializer.serialize_str("full"),
            DecodeSize::Preview(pixels) => pixels.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Preview {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        written.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_full_or_a_number_of_pixels() {
        let parse = |text: &str| text.parse::<Preview>().map(|preview| preview.0);
        assert_eq!(parse("full").unwrap(), DecodeSize::Full);
        assert_eq!(parse("256").unwrap(), DecodeSize::Preview(256));
        assert!(parse("0").is_err() && parse("small").is_err());
    }
}
