//! GenEval's published prompts: `evaluation_metadata.jsonl`, one JSON object per line.
//!
//! ```json
//! {"tag": "counting", "include": [{"class": "clock", "count": 2}],
//!  "exclude": [{"class": "clock", "count": 3}], "prompt": "a photo of two clocks"}
//! ```

use std::{borrow::Cow, fmt, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Number, Value};

use super::names;
use crate::{Error, Result, file};

/// A prompt and the expected content of its image.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The task, one of [`names::TASKS`].
    pub tag: &'static str,
    /// The prompt text.
    pub prompt: String,
    /// Objects that must be present.
    pub include: Vec<Clause>,
    /// Objects that must not be present in this number.
    pub exclude: Vec<Amount>,
    /// The JSON object as read, for the official results.
    pub line: Map<String, Value>,
}

/// A number of objects of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Number of the class.
    pub class: usize,
    /// Their number.
    pub count: usize,
}

/// Objects that must be present, optionally with a colour or a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Their class and number.
    pub amount: Amount,
    /// Number of the required colour.
    pub colour: Option<usize>,
    /// Required position relative to the objects of an earlier clause.
    pub position: Option<(RelativePosition, usize)>,
}

/// The position of an object relative to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelativePosition {
    /// Smaller x.
    Left,
    /// Larger x.
    Right,
    /// Smaller y.
    Above,
    /// Larger y.
    Below,
}

impl RelativePosition {
    /// All positions, in the order of the results.
    pub const ALL: [Self; 4] = [Self::Above, Self::Below, Self::Left, Self::Right];
}

impl fmt::Display for RelativePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left of",
            Self::Right => "right of",
            Self::Above => "above",
            Self::Below => "below",
        })
    }
}

impl FromStr for RelativePosition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL
            .into_iter()
            .find(|relation| relation.to_string() == text);
        known.ok_or_else(|| Error::input(format!("unknown position `{text}`")))
    }
}

#[derive(Deserialize)]
struct MetadataLine {
    tag: String,
    prompt: String,
    #[serde(default)]
    include: Vec<ClauseFields>,
    #[serde(default)]
    exclude: Vec<ClauseFields>,
}

#[derive(Deserialize)]
struct ClauseFields {
    class: String,
    #[serde(deserialize_with = "whole")]
    count: usize,
    color: Option<String>,
    position: Option<(String, usize)>,
}

/// An integer, also one that was written as `2.0`.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = Number::deserialize(deserializer)?;
    let whole = number.as_u64().or_else(|| {
        let number = number.as_f64()?;
        (number.fract() == 0.0 && (0.0..1e9).contains(&number)).then_some(number as u64)
    });
    whole
        .map(|whole| whole as usize)
        .ok_or_else(|| D::Error::custom(format!("expected an integer, found {number}")))
}

/// JSON without the constants that Python's `json` writes and reads but JSON does not have: `NaN`,
/// `Infinity` and `-Infinity` become `null`.
fn without_constants(text: &str) -> Cow<'_, str> {
    const CONSTANTS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !CONSTANTS.iter().any(|constant| text.contains(constant)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let constant = CONSTANTS
            .iter()
            .find(|constant| rest.starts_with(**constant));
        let length = match constant {
            Some(constant) if !quoted => {
                out.push_str("null");
                constant.len()
            }
            _ if quoted && c == '\\' => {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..length]);
                length
            }
            _ => {
                quoted ^= c == '"';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out.into()
}

impl Metadata {
    /// Parses one line of the file.
    ///
    /// # Errors
    /// It is not such an object, or it contains an unknown name.
    pub fn read(text: &str) -> Result<Self> {
        let wrong = |error: serde_json::Error| {
            Error::input(format!("expected metadata of GenEval: {error}"))
        };
        let line: Map<String, Value> =
            serde_json::from_str(&without_constants(text)).map_err(wrong)?;
        let MetadataLine {
            tag,
            prompt,
            include,
            exclude,
        } = MetadataLine::deserialize(Value::Object(line.clone())).map_err(wrong)?;
        let tag = names::TASKS.into_iter().find(|task| *task == tag);
        let tag = tag.ok_or_else(|| {
            Error::input(format!(
                "unknown tag, expected one of {}",
                names::TASKS.join(", ")
            ))
        })?;
        let include = include
            .iter()
            .enumerate()
            .map(|(i, clause)| clause.read(i))
            .collect::<Result<_>>()?;
        let exclude = exclude
            .iter()
            .map(ClauseFields::amount)
            .collect::<Result<_>>()?;
        Ok(Self {
            tag,
            prompt,
            include,
            exclude,
            line,
        })
    }
}

impl ClauseFields {
    fn amount(&self) -> Result<Amount> {
        let class = names::object(&self.class);
        let class = class
            .ok_or_else(|| Error::input(format!("the detector has no class `{}`", self.class)))?;
        Ok(Amount {
            class,
            count: self.count,
        })
    }

    /// Parses clause number `index`.
    fn read(&self, index: usize) -> Result<Clause> {
        let colour = match &self.color {
            None => None,
            Some(name) => {
                let unknown = || Error::input(format!("unknown colour `{name}`"));
                Some(names::colour(name).ok_or_else(unknown)?)
            }
        };
        let position = match &self.position {
            None => None,
            Some((_, target)) if *target >= index => {
                return Err(Error::input(format!(
                    "the position of clause {index} refers to clause {target}, \
                     expected an earlier one"
                )));
            }
            Some((relation, target)) => Some((relation.parse()?, *target)),
        };
        Ok(Clause {
            amount: self.amount()?,
            colour,
            position,
        })
    }
}

/// Reads a file of prompts.
///
/// # Errors
/// The file cannot be read, contains no prompt, or a line is invalid.
pub fn read(path: &Path) -> Result<Vec<Metadata>> {
    const HINT: &str = "give GenEval's `evaluation_metadata.jsonl`";
    let text = file::read_text(path)?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let wrong = |i: usize, error: Error| {
        Error::file(path, format!("line {}: {error}", i + 1)).with_hint(HINT)
    };
    let all = lines.map(|(i, line)| Metadata::read(line).map_err(|error| wrong(i, error)));
    let all = all.collect::<Result<Vec<_>>>()?;
    if all.is_empty() {
        return Err(Error::file(path, "contains no prompt").with_hint(HINT));
    }
    Ok(all)
}

/// Reads the prompt of one folder as GenEval's own program does, with Python's `json.load`: one
/// object on any number of lines. Of several objects, one per line, the first counts.
///
/// # Errors
/// The file cannot be read, or is invalid.
pub fn read_one(path: &Path) -> Result<Metadata> {
    let text = file::read_text(path)?;
    let whole = match Metadata::read(&text) {
        Ok(metadata) => return Ok(metadata),
        Err(error) => error,
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    if let Some(first) = lines.next()
        && lines
            .next()
            .is_some_and(|second| second.trim_start().starts_with('{'))
        && let Ok(metadata) = Metadata::read(first)
    {
        return Ok(metadata);
    }
    Err(Error::in_file(path, whole).with_hint(
        "each folder of GenEval holds the JSON object of its prompt in `metadata.jsonl`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_load_reads_is_read() {
        let prompt = |text: &str| Metadata::read(text).unwrap();
        let plain = prompt(
            r#"{"tag": "counting", "include": [{"class": "clock", "count": 2}], "prompt": "x"}"#,
        );
        let pretty = "\n{\n    \"tag\": \"counting\",\n    \"include\": [\n        {\n            \
            \"class\": \"clock\",\n            \"count\": 2\n        }\n    ],\n    \
            \"prompt\": \"x\"\n}\n\n";
        assert_eq!(prompt(pretty), plain);
        let twice = r#"{"tag": "colors", "tag": "counting", "include": [{"class": "clock", "count": 2.0}], "prompt": "y", "prompt": "x"}"#;
        let twice = prompt(twice);
        assert_eq!((twice.tag, twice.prompt.as_str()), ("counting", "x"));
        assert_eq!(twice.include, plain.include);
        let odd = prompt(
            r#"{"tag": "counting", "score": NaN, "low": [-Infinity, Infinity], "prompt": "NaN \" Infinity"}"#,
        );
        assert_eq!(odd.prompt, "NaN \" Infinity");
        assert!(odd.line["score"].is_null() && odd.line["low"].as_array().unwrap().len() == 2);
        for count in ["2.5", "-1", "1e30", "\"2\""] {
            let text = format!(
                r#"{{"tag": "counting", "include": [{{"class": "clock", "count": {count}}}], "prompt": "x"}}"#
            );
            assert!(Metadata::read(&text).is_err(), "{count}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let fails = |text: &str| Metadata::read(text).unwrap_err().to_string();
        let with = |include: &str| {
            format!(r#"{{"tag": "position", "prompt": "x", "include": [{include}]}}"#)
        };
        assert!(fails("[]").contains("expected metadata"));
        assert!(
            fails(r#"{"tag": "shape", "prompt": "x"}"#).contains("expected one of single_object")
        );
        assert!(fails(&with(r#"{"class": "mouse", "count": 1}"#)).contains("no class `mouse`"));
        assert!(
            fails(&with(r#"{"class": "dog", "count": 1, "color": "grey"}"#))
                .contains("unknown colour `grey`")
        );
        assert!(
            fails(&with(
                r#"{"class": "dog", "count": 1, "position": ["on", 0]}"#
            ))
            .contains("expected an earlier one")
        );
        let two =
            r#"{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["on", 0]}"#;
        assert!(fails(&with(two)).contains("unknown position `on`"));
        let read = Metadata::read(&with(&two.replace("[\"on\"", "[\"left of\""))).unwrap();
        assert_eq!(read.include[1].position, Some((RelativePosition::Left, 0)));
    }
}
