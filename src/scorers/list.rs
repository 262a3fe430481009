//! Scorers without weights, written as `hps` or `hps,clip`.

use std::str::FromStr;

use super::{ScorerName, kind::split_unquoted};
use crate::{Error, Result};

/// Scorers whose scores are reported separately; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorerList(Vec<ScorerName>);

impl ScorerList {
    /// The names, in the order in which they were given.
    pub fn names(&self) -> &[ScorerName] {
        &self.0
    }
}

/// Names separated by commas.
impl FromStr for ScorerList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut names: Vec<ScorerName> = vec![];
        for part in split_unquoted(text, ',') {
            if let [name, _, ..] = split_unquoted(part, '=')[..] {
                return Err(Error::input(format!(
                    "`{part}`: these scorers are not mixed, so they have no weights"
                ))
                .with_hint(format!("give only the name, `{name}`")));
            }
            let name: ScorerName = part.trim().parse()?;
            if names.contains(&name) {
                return Err(Error::input(format!("the scorer `{name}` is named twice"))
                    .with_hint("name each once"));
            }
            names.push(name);
        }
        Ok(Self(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_names_without_weights() {
        let names = |text: &str| {
            let list: ScorerList = text.parse().unwrap();
            list.names()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("hps"), ["hps"]);
        assert_eq!(names("hps, clip-2.5"), ["hps", "clip-2.5"]);
        let message = |text: &str| text.parse::<ScorerList>().unwrap_err().to_string();
        assert!(message("hps=2,clip=1").contains("no weights"));
        assert!(message("hps,hps").contains("twice"));
        assert!(message("").contains("unknown scorer"));
        assert!(message("hps,").contains("unknown scorer"));
    }
}
