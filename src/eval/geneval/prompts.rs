//! GenEval's prompts as they are published: `evaluation_metadata.jsonl`, one JSON object a line.
//!
//! ```json
//! {"tag": "counting", "include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}],
//!  "prompt": "a photo of two clocks"}
//! ```

use std::{fmt, fs, path::Path, str::FromStr};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::names;
use crate::{Error, Result};

/// A prompt and what a right picture of it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The task, one of [`names::TASKS`].
    pub tag: &'static str,
    /// What to paint.
    pub prompt: String,
    /// What must be there.
    pub include: Vec<Clause>,
    /// What must not: so many of a class are too many.
    pub exclude: Vec<Amount>,
    /// The object as it was read, for results that repeat it.
    pub line: Map<String, Value>,
}

/// Some objects of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Number of the class.
    pub class: usize,
    /// How many.
    pub count: usize,
}

/// Objects that must be there, perhaps of a colour, perhaps somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// How many of what.
    pub amount: Amount,
    /// Number of the colour that they must have.
    pub colour: Option<usize>,
    /// Where they must be, seen from the objects of an earlier clause.
    pub position: Option<(Relation, usize)>,
}

/// Where something is, seen from something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Smaller x.
    Left,
    /// Larger x.
    Right,
    /// Smaller y.
    Above,
    /// Larger y.
    Below,
}

impl Relation {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Above, Self::Below, Self::Left, Self::Right];
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left of",
            Self::Right => "right of",
            Self::Above => "above",
            Self::Below => "below",
        })
    }
}

impl FromStr for Relation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL
            .into_iter()
            .find(|relation| relation.to_string() == text);
        known.ok_or_else(|| Error::input(format!("unknown position `{text}`")))
    }
}

#[derive(Deserialize)]
struct Line {
    tag: String,
    prompt: String,
    #[serde(default)]
    include: Vec<ClauseLine>,
    #[serde(default)]
    exclude: Vec<ClauseLine>,
}

#[derive(Deserialize)]
struct ClauseLine {
    class: String,
    count: usize,
    color: Option<String>,
    position: Option<(String, usize)>,
}

impl Metadata {
    /// One line of the file.
    ///
    /// # Errors
    /// It is no such object, or a name in it is not known.
    pub fn read(text: &str) -> Result<Self> {
        let wrong =
            |error: serde_json::Error| Error::input(format!("no metadata of GenEval: {error}"));
        let line: Map<String, Value> = serde_json::from_str(text).map_err(wrong)?;
        let Line {
            tag,
            prompt,
            include,
            exclude,
        } = Line::deserialize(Value::Object(line.clone())).map_err(wrong)?;
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
            .map(ClauseLine::amount)
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

impl ClauseLine {
    fn amount(&self) -> Result<Amount> {
        let class = names::object(&self.class);
        let class =
            class.ok_or_else(|| Error::input(format!("the detector knows no `{}`", self.class)))?;
        Ok(Amount {
            class,
            count: self.count,
        })
    }

    /// What it says as clause number `own`.
    fn read(&self, own: usize) -> Result<Clause> {
        let unknown = |name: &String| Error::input(format!("unknown colour `{name}`"));
        let colour = |name: &String| names::colour(name).ok_or_else(|| unknown(name));
        let position = |(relation, target): &(String, usize)| match *target < own {
            true => Ok((relation.parse()?, *target)),
            false => Err(Error::input(format!(
                "clause {own} stands where clause {target} is, which comes later"
            ))),
        };
        Ok(Clause {
            amount: self.amount()?,
            colour: self.color.as_ref().map(colour).transpose()?,
            position: self.position.as_ref().map(position).transpose()?,
        })
    }
}

/// Reads a file of prompts.
///
/// # Errors
/// The file cannot be read, holds no prompt, or a line of it is wrong.
pub fn read(path: &Path) -> Result<Vec<Metadata>> {
    const HINT: &str = "give GenEval's `evaluation_metadata.jsonl`";
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
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
        return Err(Error::file(path, "holds no prompt").with_hint(HINT));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let fails = |text: &str| Metadata::read(text).unwrap_err().to_string();
        let with = |include: &str| {
            format!(r#"{{"tag": "position", "prompt": "x", "include": [{include}]}}"#)
        };
        assert!(fails("[]").contains("no metadata"));
        assert!(
            fails(r#"{"tag": "shape", "prompt": "x"}"#).contains("expected one of single_object")
        );
        assert!(fails(&with(r#"{"class": "mouse", "count": 1}"#)).contains("knows no `mouse`"));
        assert!(
            fails(&with(r#"{"class": "dog", "count": 1, "color": "grey"}"#))
                .contains("unknown colour `grey`")
        );
        assert!(
            fails(&with(
                r#"{"class": "dog", "count": 1, "position": ["on", 0]}"#
            ))
            .contains("comes later")
        );
        let two =
            r#"{"class": "cat", "count": 1}, {"class": "dog", "count": 1, "position": ["on", 0]}"#;
        assert!(fails(&with(two)).contains("unknown position `on`"));
        let read = Metadata::read(&with(&two.replace("[\"on\"", "[\"left of\""))).unwrap();
        assert_eq!(read.include[1].position, Some((Relation::Left, 0)));
    }
}
