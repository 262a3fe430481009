//! Whether and how candidates are steered to a layout.
//!
//! ```toml
//! edge = 0.1
//!
//! [[concept]]
//! text = "a red circle"
//! box = [0.0, 0.0, 0.5, 1.0]
//! ```

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use ttsvar_search::{Region, suggestion::suggest, wrong_value};

use crate::{Error, Result, file};

/// `off`, `auto`, or the content of a steering file.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Steer {
    /// Nothing is steered.
    #[default]
    Off,
    /// Candidates are steered.
    On(SteerOptions),
}

/// How candidates are steered; the keys of a steering file. Without any key, it is `auto`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SteerOptions {
    /// Concepts of the prompt with their boxes; without any, the prompt decides.
    #[serde(rename = "concept", skip_serializing_if = "Vec::is_empty")]
    pub concepts: Vec<Region>,
    /// Which prompts are steered that do not have concepts here.
    #[serde(skip_serializing_if = "Places::is_certain")]
    pub places: Places,
    /// The scales that are steered; `None` for the one whose grid is nearest to 4 x 4 tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scales: Option<Vec<usize>>,
    /// The width of the edge of a region in fractions of the image, over which the region fades out.
    /// 0 divides the tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub edge: f64,
    /// The share of the candidates that are steered, above 0.
    #[serde(skip_serializing_if = "is_one")]
    pub share: f64,
    /// The file with these settings, for errors.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// Which prompts are steered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Places {
    /// Those whose relations say where each concept is.
    #[default]
    Certain,
    /// Also those with two to four things whose places are open: each candidate draws an
    /// arrangement from its random stream.
    Drawn,
}

impl Places {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the form that serde calls"
    )]
    fn is_certain(&self) -> bool {
        *self == Self::Certain
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_one(value: &f64) -> bool {
    *value == 1.0
}

impl Default for SteerOptions {
    fn default() -> Self {
        Self {
            concepts: vec![],
            places: Places::default(),
            scales: None,
            edge: 0.0,
            share: 1.0,
            file: None,
        }
    }
}

/// Where a layout is wrong, for messages.
const IN_LAYOUT: &str = "in the layout, ";

/// The keys of a steering file and of a concept.
const KEYS: [&str; 5] = ["concept", "places", "scales", "edge", "share"];
const CONCEPT_KEYS: [&str; 2] = ["text", "box"];

const EXAMPLE: &str =
    "a concept is `text = \"a red circle\"` and `box = [left, top, right, bottom]`";

impl Steer {
    /// The settings, unless it is off.
    pub fn options(&self) -> Option<&SteerOptions> {
        match self {
            Self::Off => None,
            Self::On(options) => Some(options),
        }
    }

    /// Reads a value of the command line: `auto`, `off` or the path of a steering file.
    ///
    /// # Errors
    /// The file cannot be read or is not a steering file.
    pub fn from_argument(argument: &str) -> Result<Self> {
        if let Some(known) = Self::named(argument) {
            return Ok(known);
        }
        let path = Path::new(argument);
        let is_word = argument.chars().all(char::is_alphanumeric);
        if is_word && !path.exists() {
            let expected = "expected `auto`, `off`, or a TOML or JSON file with a layout";
            return Err(
                Error::input(format!("unknown layout `{argument}`")).with_hint(suggest(
                    argument,
                    &["auto", "off"],
                    expected,
                )),
            );
        }
        let steer = Self::from_text(&file::read_text(path)?);
        match steer.map_err(|error| Error::in_file(path, error))? {
            Self::Off => Ok(Self::Off),
            Self::On(options) => Ok(Self::On(SteerOptions {
                file: Some(path.to_owned()),
                ..options
            })),
        }
    }

    /// Reads the text of a steering file, TOML or JSON.
    ///
    /// # Errors
    /// It is neither, or does not describe a layout.
    pub fn from_text(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(Error::input("the layout is empty").with_hint(EXAMPLE));
        }
        let keys = match serde_json::from_str(text) {
            Ok(keys) => keys,
            Err(error) if text.trim_start().starts_with('{') => {
                return Err(Error::input(format!("not JSON: {error}")).with_hint(EXAMPLE));
            }
            Err(_) => keys_of_toml(text)?,
        };
        Self::from_json(&keys)
    }

    /// Reads a value of a request or a record: `auto`, `off`, the keys of a steering file, a list of
    /// concepts, or the text of a steering file.
    ///
    /// # Errors
    /// It is none of them; the error names the part that is wrong.
    pub fn from_json(value: &Value) -> Result<Self> {
        match value {
            Value::Object(keys) => Ok(Self::On(SteerOptions::from_keys(keys)?)),
            Value::Array(concepts) => {
                let keys = Map::from_iter([("concept".to_owned(), concepts.clone().into())]);
                Ok(Self::On(SteerOptions::from_keys(&keys)?))
            }
            Value::String(text) => match Self::named(text) {
                Some(known) => Ok(known),
                None if Self::is_content(text) => Self::from_text(text),
                None => {
                    let expected = "expected `auto`, `off` or an object with a layout";
                    Err(Error::input(format!("`steer`: unknown value `{text}`"))
                        .with_hint(suggest(text, &["auto", "off"], expected)))
                }
            },
            other => Err(Error::input(format!(
                "steer is {other}, expected `auto`, `off` or an object"
            ))
            .with_hint(EXAMPLE)),
        }
    }

    /// Returns whether a text is the content of a steering file, and not its path or a name.
    pub fn is_content(text: &str) -> bool {
        text.contains(['=', '{'])
    }

    fn named(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "auto" => Some(Self::On(SteerOptions::default())),
            _ => None,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// A box or a number is out of range.
    pub fn check(&self) -> Result<()> {
        self.options().map_or(Ok(()), SteerOptions::check)
    }
}

impl SteerOptions {
    /// An error with these settings, with the name of their file if they come from one.
    pub fn located(&self, error: Error) -> Error {
        match &self.file {
            Some(file) => Error::in_file(file, error),
            None => error,
        }
    }

    /// Returns whether they are those of `auto`.
    fn is_auto(&self) -> bool {
        let usual = Self {
            file: self.file.clone(),
            ..Self::default()
        };
        *self == usual
    }

    fn from_keys(keys: &Map<String, Value>) -> Result<Self> {
        check_keys(keys, &KEYS, "")?;
        let concepts = keys.get("concept").and_then(Value::as_array);
        if concepts.is_some_and(Vec::is_empty) {
            return Err(wrong("concept is an empty list, expected one or more"));
        }
        for (number, concept) in concepts.into_iter().flatten().enumerate() {
            check_concept_keys(concept, &format!("concept[{number}]"))?;
        }
        let options: Self =
            serde_path_to_error::deserialize(Value::Object(keys.clone())).map_err(|error| {
                let path = error.path().to_string();
                let sentence = wrong_value::sentence(&path, &error.inner().to_string());
                match path.starts_with("concept") {
                    true => wrong(sentence),
                    false => Error::input(format!("{IN_LAYOUT}{sentence}"))
                        .with_hint(format!("the keys are `{}`", KEYS.join("`, `"))),
                }
            })?;
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<()> {
        self.concepts.iter().try_for_each(check_concept)?;
        if !self.concepts.is_empty() && self.places == Places::Drawn {
            return Err(Error::input(format!(
                "{IN_LAYOUT}`places = \"drawn\"` cannot be combined with concepts that have boxes"
            ))
            .with_hint("leave `places` out, or the concepts"));
        }
        self.check_scales()?;
        if !(0.0..=1.0).contains(&self.edge) {
            let edge = self.edge;
            return Err(Error::input(format!(
                "{IN_LAYOUT}edge must be from 0 to 1, found {edge:?}"
            ))
            .with_hint("it is a fraction of the image; 0 makes hard edges between regions"));
        }
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        let share = self.share;
        Err(Error::input(format!(
            "{IN_LAYOUT}share must be above 0 and at most 1, found {share:?}"
        ))
        .with_hint("0.5 steers every other candidate; --steer off steers none"))
    }

    fn check_scales(&self) -> Result<()> {
        let Some(scales) = &self.scales else {
            return Ok(());
        };
        let distinct: BTreeSet<&usize> = scales.iter().collect();
        if distinct.is_empty() || distinct.len() < scales.len() {
            return Err(Error::input(format!(
                "{IN_LAYOUT}scales is {scales:?}, expected one or more different scales"
            ))
            .with_hint("leave it out for the scale whose grid is nearest to 4 x 4"));
        }
        Ok(())
    }
}

/// The keys in a TOML text. JSON has no value for the numbers that TOML writes `nan` and `inf`.
fn keys_of_toml(text: &str) -> Result<Value> {
    let keys: toml::Table = file::parse_toml(text).map_err(|error| error.with_hint(EXAMPLE))?;
    for (key, value) in &keys {
        check_finite(value, key)?;
    }
    serde_json::to_value(keys).map_err(wrong)
}

/// Checks that a value and all inside of it are finite numbers, or none.
fn check_finite(value: &toml::Value, place: &str) -> Result<()> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => Err(wrong(format!(
            "{place} is {number}, expected a finite number"
        ))),
        toml::Value::Array(list) => {
            let mut list = list.iter().enumerate();
            list.try_for_each(|(i, value)| check_finite(value, &format!("{place}[{i}]")))
        }
        toml::Value::Table(keys) => {
            let mut keys = keys.iter();
            keys.try_for_each(|(key, value)| check_finite(value, &format!("{place}.{key}")))
        }
        _ => Ok(()),
    }
}

/// Checks the keys of a concept, and that its box has four entries.
fn check_concept_keys(concept: &Value, place: &str) -> Result<()> {
    let Value::Object(concept) = concept else {
        return Err(wrong(format!("{place} is {concept}, expected an object")));
    };
    check_keys(concept, &CONCEPT_KEYS, &format!("{place}."))?;
    match concept.get("box").and_then(Value::as_array) {
        Some(numbers) if numbers.len() != 4 => {
            let found = numbers.len();
            Err(wrong(format!(
                "{place}.box has {found} numbers, expected 4"
            )))
        }
        _ => Ok(()),
    }
}

fn check_concept(concept: &Region) -> Result<()> {
    if concept.text.trim().is_empty() {
        return Err(wrong("the text of a concept is empty"));
    }
    if concept.is_possible() {
        return Ok(());
    }
    let Region { text, bounds } = concept;
    Err(Error::input(format!(
        "{IN_LAYOUT}the box of `{text}` is {bounds:?}, expected left < right and top < bottom, from 0 to 1"
    ))
    .with_hint("a box is [left, top, right, bottom] in fractions of the image"))
}

fn check_keys(found: &Map<String, Value>, known: &[&str], place: &str) -> Result<()> {
    for key in found.keys() {
        if !known.contains(&key.as_str()) {
            let expected = format!("expected one of `{}`", known.join("`, `"));
            return Err(
                Error::input(format!("{IN_LAYOUT}unknown key `{place}{key}`"))
                    .with_hint(suggest(key, known, &expected)),
            );
        }
    }
    Ok(())
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::input(format!("{IN_LAYOUT}{message}")).with_hint(EXAMPLE)
}

/// `off`, `auto`, or an object with the keys of a steering file.
impl Serialize for Steer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::On(options) if options.is_auto() => serializer.serialize_str("auto"),
            Self::On(options) => options.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Steer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let circle = json!({ "text": "a red circle", "box": [0.0, 0.0, 0.5, 1.0] });
        for value in [
            json!("auto"),
            json!("off"),
            json!({ "concept": [circle] }),
            json!({ "places": "drawn", "scales": [2, 3], "edge": 0.25, "share": 0.5 }),
        ] {
            let steer = Steer::from_json(&value).unwrap();
            assert_eq!(serde_json::to_value(&steer).unwrap(), value);
            assert_eq!(
                Steer::from_json(&json!(value.to_string())).is_ok(),
                value.is_object()
            );
        }
        assert_eq!(
            Steer::from_text("{}").unwrap(),
            Steer::from_argument("auto").unwrap()
        );
    }

    #[test]
    fn toml_and_json_are_read_alike() {
        let toml = "edge = 0.1\n[[concept]]\ntext = \"a cat\"\nbox = [0, 0.5, 1, 1]\n";
        let json = r#"{ "edge": 0.1, "concept": [{ "text": "a cat", "box": [0, 0.5, 1, 1] }] }"#;
        assert_eq!(
            Steer::from_text(toml).unwrap(),
            Steer::from_text(json).unwrap()
        );
        let concepts = r#"[{ "text": "a cat", "box": [0, 0.5, 1, 1] }]"#;
        assert_eq!(
            Steer::from_text(concepts).unwrap(),
            Steer::from_text(toml.trim_start_matches("edge = 0.1\n")).unwrap()
        );
    }

    #[test]
    fn the_wrong_part_of_a_layout_is_named() {
        let concept = |region: &str| format!("[[concept]]\ntext = \"a cat\"\nbox = {region}\n");
        for (text, expected) in [
            (
                concept("[0, 0, 2, 1]"),
                "the box of `a cat` is [0.0, 0.0, 2.0, 1.0]",
            ),
            (concept("[0.5, 0, 0.5, 1]"), "the box of `a cat`"),
            (
                concept("[nan, 0, 0.5, 1]"),
                "concept[0].box[0] is NaN, expected a finite number",
            ),
            (concept("[0, 0, -inf, 1]"), "concept[0].box[2] is -inf"),
            ("edge = nan".to_owned(), "edge is NaN"),
            (
                concept("[0, 0, 1]"),
                "concept[0].box has 3 numbers, expected 4",
            ),
            (" \n".to_owned(), "the layout is empty"),
            ("null".to_owned(), "steer is null"),
            ("{\"concept\": []}".to_owned(), "concept is an empty list"),
            ("edge = 1e300".to_owned(), "found 1e300"),
            (concept("\"left\""), "concept[0].box is \"left\""),
            (
                "[[concept]]\nbox = [0, 0, 1, 1]".to_owned(),
                "missing field `text`",
            ),
            (
                format!("{}size = 3", concept("[0, 0, 1, 1]")),
                "unknown key `concept[0].size`",
            ),
            ("concepts = []".to_owned(), "unknown key `concepts`"),
            (
                "concept = [3]".to_owned(),
                "concept[0] is 3, expected an object",
            ),
            ("concept = 3".to_owned(), "concept is 3, expected a list"),
            ("scales = [3, 3]".to_owned(), "scales is [3, 3]"),
            ("scales = [-1]".to_owned(), "scales[0] is -1"),
            ("edge = 2".to_owned(), "edge must be from 0 to 1"),
            ("share = 0".to_owned(), "share must be above 0"),
            ("places = \"here\"".to_owned(), "unknown value `here`"),
            (
                format!("places = \"drawn\"\n{}", concept("[0, 0, 1, 1]")),
                "boxes",
            ),
            ("{".to_owned(), "not JSON"),
            ("a b".to_owned(), "line 1"),
        ] {
            let error = Steer::from_text(&text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert!(error.hint().is_some(), "{text}");
        }
    }
}
