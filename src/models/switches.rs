//! Switches of a network in a tree of settings, in which every name must be known.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A table of settings. Names that nobody asked for are an error: a network with a switch that this
/// program does not know may compute something else.
#[derive(Clone, Debug)]
pub struct Switches<'a> {
    /// The way to the table, for messages.
    path: String,
    table: &'a Map<String, Value>,
    asked: BTreeSet<&'a str>,
}

impl<'a> Switches<'a> {
    /// The table `value` of the settings `path`.
    ///
    /// # Errors
    /// It is not a table.
    pub fn new(path: impl Into<String>, value: &'a Value) -> Result<Self> {
        let path = path.into();
        match value {
            Value::Object(table) => Ok(Self {
                path,
                table,
                asked: BTreeSet::new(),
            }),
            other => Err(wrong(&path, "a table", other)),
        }
    }

    /// The way to this table.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The names in the table with their values, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.table
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// The class that a table stands for: what follows the last dot of `_target_`.
    ///
    /// # Errors
    /// It names none.
    pub fn target(&mut self) -> Result<&'a str> {
        match self.value("_target_") {
            Some(Value::String(target)) => Ok(target.rsplit('.').next().unwrap_or_default()),
            Some(other) => Err(wrong(&self.at("_target_"), "the name of a class", other)),
            None => Err(self.missing("_target_")),
        }
    }

    /// A value, if there is one that is not null.
    pub fn value(&mut self, name: &str) -> Option<&'a Value> {
        let (name, value) = self.table.get_key_value(name)?;
        self.asked.insert(name);
        Some(value).filter(|value| !value.is_null())
    }

    /// A table inside of this one, if there is one.
    ///
    /// # Errors
    /// It is something else.
    pub fn table(&mut self, name: &str) -> Result<Option<Switches<'a>>> {
        let path = self.at(name);
        let value = self.value(name);
        value.map(|value| Self::new(path, value)).transpose()
    }

    /// A table that must be there.
    ///
    /// # Errors
    /// It is missing.
    pub fn require(&mut self, name: &str) -> Result<Switches<'a>> {
        let missing = self.missing(name);
        self.table(name)?.ok_or(missing)
    }

    /// A number, if it is there.
    ///
    /// # Errors
    /// It is something else, or not finite.
    pub fn number(&mut self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(&self.at(name), "a number", value)),
        }
    }

    /// An integer above 0, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn count(&mut self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        match count(value) {
            Some(count) => Ok(Some(count)),
            None => Err(wrong(&self.at(name), "a positive integer", value)),
        }
    }

    /// A list of integers above 0, if it is there.
    ///
    /// # Errors
    /// It is something else.
    pub fn counts(&mut self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let list = value.as_array().map(|list| list.iter().map(count));
        match list.and_then(Iterator::collect) {
            Some(counts) => Ok(Some(counts)),
            None => Err(wrong(&self.at(name), "positive integers", value)),
        }
    }

    /// A boolean; `missing` if it is not there.
    ///
    /// # Errors
    /// It is something else.
    pub fn truth(&mut self, name: &str, missing: bool) -> Result<bool> {
        match self.value(name) {
            None => Ok(missing),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(wrong(&self.at(name), "true or false", other)),
        }
    }

    /// Checks a text that may be missing and otherwise must be one of those that this program
    /// knows; returns which of them it is.
    ///
    /// # Errors
    /// It is something else.
    pub fn one_of(&mut self, name: &str, known: &[&'static str]) -> Result<Option<&'static str>> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let text = value.as_str().unwrap_or_default();
        match known.iter().find(|known| **known == text) {
            Some(known) => Ok(Some(known)),
            None => Err(wrong(
                &self.at(name),
                &format!("one of {}", known.join(", ")),
                value,
            )),
        }
    }

    /// Settings that change no result of a network which is only used.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            let _ = self.value(name);
        }
    }

    /// Checks that every name is known. Those that only say how tables are wired, which end with
    /// `_key` or `_keys`, are.
    ///
    /// # Errors
    /// A name is not known.
    pub fn finish(self) -> Result<()> {
        let is_wiring = |name: &str| name.ends_with("_key") || name.ends_with("_keys");
        let mut names = self.table.keys().map(String::as_str);
        match names.find(|name| !self.asked.contains(name) && !is_wiring(name)) {
            None => Ok(()),
            Some(name) => Err(Error::input(format!(
                "{}: this program does not know the setting `{}`",
                self.path,
                name.escape_debug()
            ))
            .with_hint("the model may be newer than this program")),
        }
    }

    /// The error for a value that must be there.
    pub fn missing(&self, name: &str) -> Error {
        Error::input(format!("{}: no `{name}`", self.path))
    }

    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

fn count(value: &Value) -> Option<usize> {
    let count = value.as_u64().filter(|count| *count > 0)?;
    usize::try_from(count).ok()
}

/// The error for a value of the wrong kind.
fn wrong(path: &str, expected: &str, found: &Value) -> Error {
    const MOST: usize = 60;
    let text: String = found.to_string().chars().take(MOST).collect();
    Error::input(format!("{path}: expected {expected}, found {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_that_nobody_knows_are_refused_by_name() {
        let tree = json!({"_target_": "a.b.Linear", "dim": 4, "read_key": "x", "odd": null});
        let mut switches = Switches::new("config.json: encoder", &tree).unwrap();
        assert_eq!(switches.target().unwrap(), "Linear");
        assert_eq!(switches.count("dim").unwrap(), Some(4));
        let error = switches.finish().unwrap_err().to_string();
        assert!(error.contains("config.json: encoder"), "{error}");
        assert!(error.contains("`odd`"), "{error}");
    }

    #[test]
    fn values_of_other_kinds_are_refused() {
        let tree = json!({"dim": -4, "on": "yes", "sizes": [1, 0], "mode": "other"});
        let mut switches = Switches::new("here", &tree).unwrap();
        assert!(switches.count("dim").is_err());
        assert!(switches.truth("on", true).is_err());
        assert!(switches.counts("sizes").is_err());
        assert!(switches.one_of("mode", &["full"]).is_err());
        assert!(switches.require("nothing").is_err());
    }
}
