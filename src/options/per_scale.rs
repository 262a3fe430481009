//! A number for every scale.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Unexpected, Visitor},
};
use ttsvar_search::number;

use crate::{Error, Result};

/// One number for all scales, or a list over the scales, coarse to fine, whose last number
/// continues.
///
/// A list of one number is that number.
#[derive(Clone, Debug, PartialEq)]
pub struct PerScale {
    first: f32,
    later: Vec<f32>,
}

impl PerScale {
    /// The number at a scale.
    pub fn at(&self, scale: usize) -> f32 {
        match scale.checked_sub(1) {
            None => self.first,
            Some(place) => {
                let found = self.later.get(place).or(self.later.last());
                found.copied().unwrap_or(self.first)
            }
        }
    }

    /// The numbers as given, coarse to fine.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        std::iter::once(self.first).chain(self.later.iter().copied())
    }

    /// The numbers as given, each with its name in messages: `tau`, or `tau at scale 2` in a list.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = (String, f32)> {
        let list = self.count() > 1;
        self.values().enumerate().map(move |(scale, value)| {
            let name = match list {
                true => format!("{name} at scale {scale}"),
                false => name.to_owned(),
            };
            (name, value)
        })
    }

    /// How many numbers were given; 1 if there is one for all scales.
    pub fn count(&self) -> usize {
        1 + self.later.len()
    }

    /// The numbers of a list; `None` if it is empty.
    fn from_list(values: &[f32]) -> Option<Self> {
        let (first, later) = values.split_first()?;
        Some(Self {
            first: *first,
            later: later.to_vec(),
        })
    }
}

/// The same number at every scale.
impl From<f32> for PerScale {
    fn from(value: f32) -> Self {
        Self {
            first: value,
            later: vec![],
        }
    }
}

impl FromStr for PerScale {
    type Err = Error;

    fn from_str(written: &str) -> Result<Self> {
        let values: Result<Vec<f32>, _> =
            written.split(',').map(|one| one.trim().parse()).collect();
        let values = values.ok().and_then(|values| Self::from_list(&values));
        values.ok_or_else(|| {
            Error::input(format!(
                "expected a number, or a comma-separated list with one number per scale, found `{written}`"
            ))
            .with_hint("the last number applies to all later scales: 3,3,1 is 1 from scale 2 on")
        })
    }
}

/// As it is typed: `3`, or `3,3,1`.
impl fmt::Display for PerScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        for value in &self.later {
            write!(f, ",{value}")?;
        }
        Ok(())
    }
}

/// A number, or a list of numbers.
impl Serialize for PerScale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.later.is_empty() {
            return number::to_json(self.first).serialize(serializer);
        }
        serializer.collect_seq(self.values().map(number::to_json))
    }
}

impl<'de> Deserialize<'de> for PerScale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Numbers)
    }
}

/// Reads a number, or a list of numbers.
struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = PerScale;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list of numbers, one for each scale")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<PerScale, E> {
        Ok(PerScale::from(value as f32))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<PerScale, E> {
        Ok(PerScale::from(value as f32))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<PerScale, E> {
        Ok(PerScale::from(value as f32))
    }

    /// JSON writes NaN and infinite numbers as texts.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PerScale, E> {
        let named = serde::de::value::StrDeserializer::<E>::new(text);
        let value = number::deserialize(named);
        value
            .map(PerScale::from)
            .map_err(|_| E::invalid_type(Unexpected::Str(text), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PerScale, A::Error> {
        /// One number of a list.
        #[derive(Deserialize)]
        struct Value(#[serde(with = "number")] f32);
        let mut values = vec![];
        while let Some(Value(value)) = list.next_element()? {
            values.push(value);
        }
        let empty = Unexpected::Other("an empty list");
        PerScale::from_list(&values).ok_or_else(|| A::Error::invalid_value(empty, &self))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(json: Value) -> Result<PerScale, String> {
        PerScale::deserialize(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_last_number_continues() {
        let list: PerScale = "3, 2,-1".parse().unwrap();
        let found: Vec<f32> = (0..5).map(|scale| list.at(scale)).collect();
        assert_eq!(found, [3.0, 2.0, -1.0, -1.0, -1.0]);
        assert_eq!((list.count(), list.to_string()), (3, "3,2,-1".to_owned()));
        let one = PerScale::from(0.5);
        assert_eq!((one.at(0), one.at(99), one.count()), (0.5, 0.5, 1));
    }

    #[test]
    fn json_has_a_number_or_a_list() {
        for json in [json!(0.97), json!([1.0, 0.5]), json!([3.0, 3.0])] {
            let value = read(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&value).unwrap(), json);
            assert_eq!(value.to_string().parse::<PerScale>().unwrap(), value);
        }
        assert_eq!(read(json!([3])).unwrap(), 3.0.into());
        assert!(read(json!("nan")).unwrap().at(0).is_nan());
        assert!(read(json!(["inf", 1])).unwrap().at(0).is_infinite());
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in ["", ",", "1,", "1,,2", "warm", "1;2"] {
            assert!(text.parse::<PerScale>().is_err(), "{text}");
        }
        for json in [
            json!([]),
            json!("3"),
            json!([[1]]),
            json!([null]),
            json!({}),
            json!(true),
        ] {
            let error = read(json.clone()).unwrap_err();
            assert!(
                error.contains("number") || error.contains("Number"),
                "{json}: {error}"
            );
        }
    }
}
