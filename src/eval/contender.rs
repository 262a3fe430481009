//! A contender of an evaluation: a plan with a name.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ttsvar_search::{Drafts, Method, Plan};

use crate::{Error, Result};

/// A search method at one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// The method, or its name in an experiment.
    pub method: String,
    /// The requested size N.
    pub n: usize,
    /// The plan to run.
    pub plan: Plan,
    /// Its own settings of the generator, by the names of options; the others are those of the
    /// evaluation.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

impl Contender {
    /// Every method at every size, in the given order, for a model of `scales` scales, whose
    /// unfinished candidates are scored as `drafts` say. Raw sampling has only one size and is
    /// included once.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no method or no size, or one of them is given twice.
    pub fn grid(
        methods: &[Method],
        sizes: &[usize],
        scales: usize,
        drafts: Drafts,
    ) -> Result<Vec<Self>> {
        if methods.is_empty() || sizes.is_empty() {
            return Err(Error::input(
                "an evaluation needs at least one method and one N",
            ));
        }
        let mut all = vec![];
        for &method in methods {
            let sizes = if method == Method::Raw { &[1] } else { sizes };
            for &n in sizes {
                all.push(Self {
                    method: method.to_string(),
                    n,
                    plan: method.plan_for(scales, n, drafts)?,
                    settings: Map::new(),
                });
            }
        }
        check_names(&all)?;
        Ok(all)
    }

    /// Returns whether this is the method `method` of size `n`.
    pub fn is(&self, method: &str, n: usize) -> bool {
        self.method == method && self.n == n
    }
}

/// `tts-var, N = 4`
impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, N = {}", self.method, self.n)
    }
}

/// Checks that the names are unique.
///
/// # Errors
/// [`Error::Input`] if two contenders have the same name and size.
pub(super) fn check_names(all: &[Contender]) -> Result<()> {
    for (i, contender) in all.iter().enumerate() {
        if all[..i]
            .iter()
            .any(|other| other.is(&contender.method, contender.n))
        {
            return Err(Error::input(format!("`{contender}` is given twice"))
                .with_hint("give every method and every N once"));
        }
    }
    Ok(())
}
