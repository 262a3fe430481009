//! A class as a user names it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use crate::{Error, Result};

/// The class of an image: its number, its name or the first words of one. The generator knows which
/// there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassChoice(String);

impl ClassChoice {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<usize> for ClassChoice {
    fn from(number: usize) -> Self {
        Self(number.to_string())
    }
}

impl FromStr for ClassChoice {
    type Err = Error;

    fn from_str(written: &str) -> Result<Self> {
        match written.trim() {
            "" => Err(Error::input("the class is empty")
                .with_hint("give the number or the name of a class, such as --class 207")),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for ClassChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number if it is one, otherwise a text.
impl Serialize for ClassChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<i64>() {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ClassChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
            other => {
                return Err(D::Error::custom(format!(
                    "expected the number or the name of a class, found {other}"
                )));
            }
        };
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_names_read_back_as_they_were_written() {
        for value in [json!(207), json!("golden retriever"), json!(-1)] {
            let choice: ClassChoice = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&choice).unwrap(), value);
        }
        for value in [json!(""), json!(2.5), json!([1]), json!(true)] {
            assert!(serde_json::from_value::<ClassChoice>(value).is_err());
        }
    }
}
