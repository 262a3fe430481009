//! Numbers in JSON that may be NaN or infinite; these are written as the strings `"nan"`, `"inf"`
//! and `"-inf"`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

/// A number with the shortest digits that identify it as f32.
pub fn to_json(value: f32) -> Value {
    match Number::from(value) {
        Number::Finite(value) => value.into(),
        Number::Named(name) => name.into(),
    }
}

/// The number with the shortest digits that identify a finite `value` as f32: 0.8 instead of
/// 0.800000011920929.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    /// With the shortest digits.
    Finite(f64),
    Named(String),
}

impl From<f32> for Number {
    fn from(value: f32) -> Self {
        match value {
            _ if value.is_finite() => Self::Finite(shortest(value)),
            _ if value.is_nan() => Self::Named("nan".to_owned()),
            _ => Self::Named(if value > 0.0 { "inf" } else { "-inf" }.to_owned()),
        }
    }
}

impl Number {
    fn value<E: Error>(self) -> Result<f32, E> {
        match self {
            Self::Finite(value) => Ok(value as f32),
            Self::Named(name) => match name.as_str() {
                "nan" => Ok(f32::NAN),
                "inf" => Ok(f32::INFINITY),
                "-inf" => Ok(f32::NEG_INFINITY),
                _ => Err(E::custom(format!(
                    "expected a number, `nan`, `inf` or `-inf`, found `{name}`"
                ))),
            },
        }
    }
}

/// For `#[serde(with = ...)]`.
pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    Number::from(*value).serialize(serializer)
}

/// For `#[serde(with = ...)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Number::deserialize(deserializer)?.value()
}

/// Lists of such numbers.
pub mod list {
    use super::{Deserialize, Deserializer, Number, Serializer};

    /// For `#[serde(with = ...)]`.
    pub fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|&value| Number::from(value)))
    }

    /// For `#[serde(with = ...)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        Vec::<Number>::deserialize(deserializer)?
            .into_iter()
            .map(Number::value)
            .collect()
    }
}

/// Such numbers that may be missing.
pub mod optional {
    use super::{Deserialize, Deserializer, Number, Serialize, Serializer, to_json};

    /// For `#[serde(with = ...)]`.
    pub fn serialize<S: Serializer>(value: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(to_json).serialize(serializer)
    }

    /// For `#[serde(with = ...)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f32>, D::Error> {
        Option::<Number>::deserialize(deserializer)?
            .map(Number::value)
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_are_short_and_come_back() {
        for value in [0.97f32, 0.5, 3.0, 1e-6, 123.456, -0.0] {
            assert_eq!(to_json(value).as_f64().unwrap() as f32, value);
        }
        assert_eq!(to_json(0.97).to_string(), "0.97");
        assert_eq!(
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(to_json),
            ["nan", "inf", "-inf"].map(Value::from)
        );
    }
}
