//! Which scorers judge and how much each counts, in the words that people type: `hps`,
//! `image-reward=1,hps=10,clip=.5`.

use std::{fmt, str::FromStr};

use crate::{Error, Result, hub::description::ScorerFamily, scorers::Definition};

/// A scorer by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    family: ScorerFamily,
    definition: Definition,
}

/// Every name.
const NAMES: [(&str, Name); 6] = [
    ("image-reward", Name::usual(ScorerFamily::ImageReward)),
    ("hps", Name::usual(ScorerFamily::Hps)),
    ("clip", Name::usual(ScorerFamily::Clip)),
    (
        "clip-100",
        Name {
            family: ScorerFamily::Clip,
            definition: Definition::Percent,
        },
    ),
    (
        "clip-2.5",
        Name {
            family: ScorerFamily::Clip,
            definition: Definition::Hessel,
        },
    ),
    ("aesthetic", Name::usual(ScorerFamily::Aesthetic)),
];

impl Name {
    /// The usual scorer of a family.
    pub const fn usual(family: ScorerFamily) -> Self {
        Self {
            family,
            definition: Definition::Cosine,
        }
    }

    /// What runs it.
    pub fn family(self) -> ScorerFamily {
        self.family
    }

    /// What a CLIP-Score makes of the cosine.
    pub fn definition(self) -> Definition {
        self.definition
    }

    /// Whether its scores depend on the prompt.
    pub fn reads_prompt(self) -> bool {
        self.family != ScorerFamily::Aesthetic
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            NAMES
                .iter()
                .find(|(_, name)| name == self)
                .map_or("", |(text, _)| text),
        )
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        NAMES
            .iter()
            .find(|(known, _)| *known == text)
            .map(|(_, name)| *name)
            .ok_or_else(|| {
                let known = NAMES.map(|(known, _)| known).join(", ");
                Error::input(format!("unknown scorer `{text}`"))
                    .with_hint(format!("expected one or more of {known}"))
            })
    }
}

/// The scorers of a search, each with its weight; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorerMix(Vec<(Name, f64)>);

impl ScorerMix {
    /// One scorer alone.
    pub fn by(name: Name) -> Self {
        Self(vec![(name, 1.0)])
    }

    /// Names and weights, in the order in which they were given.
    pub fn wanted(&self) -> &[(Name, f64)] {
        &self.0
    }

    /// The families, each once.
    pub fn families(&self) -> Vec<ScorerFamily> {
        let mut families = vec![];
        for (name, _) in &self.0 {
            if !families.contains(&name.family) {
                families.push(name.family);
            }
        }
        families
    }
}

/// `NAME` or `NAME=WEIGHT`, separated by commas; a weight that is not given is 1.
impl FromStr for ScorerMix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut wanted: Vec<(Name, f64)> = vec![];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let name: Name = name.trim().parse()?;
            let number = weight
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|weight| weight.is_finite() && *weight > 0.0);
            let weight = number.ok_or_else(|| {
                Error::input(format!(
                    "`{part}`: a weight is a number above 0, not `{}`",
                    weight.trim()
                ))
                .with_hint("for example image-reward=1,hps=2")
            })?;
            if wanted.iter().any(|(before, _)| *before == name) {
                return Err(Error::input(format!("the scorer `{name}` is named twice"))
                    .with_hint("name each once"));
            }
            wanted.push((name, weight));
        }
        match wanted[..] {
            [(name, weight)] if weight != 1.0 => Err(Error::input(format!(
                "`{text}`: a weight says how scorers are mixed, but `{name}` is alone"
            ))
            .with_hint("leave the weight out; --lambda says how greedily scores are followed")),
            _ => Ok(Self(wanted)),
        }
    }
}

impl fmt::Display for ScorerMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.0.len() > 1;
        let one = |(name, weight): &(Name, f64)| {
            if several {
                format!("{name}={weight}")
            } else {
                name.to_string()
            }
        };
        f.write_str(&self.0.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_comes_back() {
        for text in [
            "hps",
            "clip-2.5",
            "image-reward=1,hps=10,clip=0.5",
            "clip=1,clip-100=2",
        ] {
            assert_eq!(text.parse::<ScorerMix>().unwrap().to_string(), text);
        }
        assert_eq!(
            "hps, clip=.5".parse::<ScorerMix>().unwrap().to_string(),
            "hps=1,clip=0.5"
        );
        assert_eq!(
            "clip=1,hps=1,clip-100=1"
                .parse::<ScorerMix>()
                .unwrap()
                .families()
                .len(),
            2
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |text: &str| text.parse::<ScorerMix>().unwrap_err().to_string();
        assert!(said("pickscore").contains("unknown scorer `pickscore`"));
        assert!(said("").contains("unknown scorer"));
        assert!(said("hps=10").contains("alone"));
        assert!(said("hps,hps=2").contains("twice"));
        for weight in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(
                said(&format!("hps={weight},clip")).contains("above 0"),
                "{weight}"
            );
        }
    }
}
