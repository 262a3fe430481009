//! Scorers with their weights, written as `hps` or `image-reward=1,hps=10,clip=0.5`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use ttsvar_search::Method;

use super::{ScorerKind, ScorerName, kind::split_unquoted};
use crate::{Error, Result};

/// The scorers of a search, each with its weight; at least one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScorerMix(Vec<(ScorerName, f64)>);

impl ScorerMix {
    /// A single scorer.
    pub fn single(name: ScorerName) -> Self {
        Self(vec![(name, 1.0)])
    }

    /// Names and weights, in the order in which they were given.
    pub fn scorers(&self) -> &[(ScorerName, f64)] {
        &self.0
    }

    /// The same with one more scorer of weight 1.
    pub fn with(mut self, name: ScorerName) -> Self {
        self.0.push((name, 1.0));
        self
    }

    /// The method for searches whose caller chooses none: `auto`, whose default thresholds are on
    /// the scale of standardised scores, otherwise `draft`, which has none.
    pub fn usual_method(&self) -> Method {
        match &self.0[..] {
            [(name, _)] if name.kind.standardised => Method::Auto,
            _ => Method::Draft,
        }
    }

    /// The kinds, each once.
    pub fn kinds(&self) -> Vec<&'static ScorerKind> {
        let mut kinds: Vec<&'static ScorerKind> = vec![];
        for (name, _) in &self.0 {
            if !kinds
                .iter()
                .any(|kind| kind.release.family == name.kind.release.family)
            {
                kinds.push(name.kind);
            }
        }
        kinds
    }
}

/// `NAME` or `NAME=WEIGHT`, separated by commas; the default weight is 1.
impl FromStr for ScorerMix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut scorers: Vec<(ScorerName, f64)> = vec![];
        for part in split_unquoted(text, ',') {
            let (name, weight) = match split_unquoted(part, '=')[..] {
                [name] => (name, "1"),
                _ => part.rsplit_once('=').unwrap_or((part, "1")),
            };
            let name: ScorerName = name.trim().parse()?;
            let weight = parse_weight(weight.trim()).ok_or_else(|| {
                let weight = weight.trim();
                Error::input(format!(
                    "`{part}`: a weight is a number above 0, not `{weight}`"
                ))
                .with_hint("for example image-reward=1,hps=2")
            })?;
            if scorers.iter().any(|(before, _)| *before == name) {
                return Err(Error::input(format!("the scorer `{name}` is named twice"))
                    .with_hint("name each once"));
            }
            scorers.push((name, weight));
        }
        if let [(name, weight)] = &scorers[..]
            && *weight != 1.0
        {
            return Err(Error::input(format!(
                "`{text}`: weights mix several scorers, but `{name}` is the only one"
            ))
            .with_hint("leave the weight out; --lambda sets how greedily scores are followed"));
        }
        Ok(Self(scorers))
    }
}

fn parse_weight(text: &str) -> Option<f64> {
    let weight: f64 = text.parse().ok()?;
    (weight.is_finite() && weight > 0.0).then_some(weight)
}

impl fmt::Display for ScorerMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(name, _)] = &self.0[..] {
            return write!(f, "{name}");
        }
        for (i, (name, weight)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={weight}")?;
        }
        Ok(())
    }
}

impl From<ScorerMix> for String {
    fn from(mix: ScorerMix) -> Self {
        mix.to_string()
    }
}

impl TryFrom<String> for ScorerMix {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_print_as_typed() {
        for text in [
            "hps",
            "clip-2.5",
            "image-reward=1,hps=10,clip=0.5",
            "clip=1,clip-100=2",
        ] {
            assert_eq!(text.parse::<ScorerMix>().unwrap().to_string(), text);
        }
        for text in [
            r#"openai:"Is it red?""#,
            r#"openai:"a, \"b\" = 2 \\?"=2,clip=1"#,
            r#"openai:"a?"=1,openai:"b?"=1"#,
        ] {
            assert_eq!(text.parse::<ScorerMix>().unwrap().to_string(), text);
        }
        assert_eq!(
            "openai:Is it red?"
                .parse::<ScorerMix>()
                .unwrap()
                .to_string(),
            r#"openai:"Is it red?""#
        );
        assert_eq!(
            "hps, clip=.5".parse::<ScorerMix>().unwrap().to_string(),
            "hps=1,clip=0.5"
        );
        assert_eq!(
            "clip=1,hps=1,clip-100=1"
                .parse::<ScorerMix>()
                .unwrap()
                .kinds()
                .len(),
            2
        );
    }

    #[test]
    fn faults_are_named() {
        let message = |text: &str| text.parse::<ScorerMix>().unwrap_err().to_string();
        assert!(message("pickscores").contains("unknown scorer `pickscores`"));
        assert!(message("").contains("unknown scorer"));
        assert!(message("hps:\"Is it red?\"").contains("answers no questions"));
        for question in ["", "\"", "\"\"", "\"a\"b\"", "\"a\\\""] {
            let message = message(&format!("openai:{question}"));
            assert!(
                message.contains("is not a question"),
                "{question}: {message}"
            );
        }
        assert!(message("hps=10").contains("only one"));
        assert!(message("hps,hps=2").contains("twice"));
        for weight in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(
                message(&format!("hps={weight},clip")).contains("above 0"),
                "{weight}"
            );
        }
    }
}
