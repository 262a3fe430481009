//! What competes: a plan with a name.

use std::fmt;

use serde::{Deserialize, Serialize};
use ttsvar_search::{Method, Plan};

use crate::{Error, Result};

/// A search method at one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// The method, or what an experiment calls it.
    pub method: String,
    /// The size that the method was asked for.
    pub n: usize,
    /// What is carried out.
    pub plan: Plan,
}

impl Contender {
    /// Every method at every size for a model of `scales` scales, in the order given. Raw sampling
    /// has one size only and comes once, whatever the sizes are.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no method or no size, or one of them is named twice.
    pub fn grid(methods: &[Method], sizes: &[usize], scales: usize) -> Result<Vec<Self>> {
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
                    plan: method.plan(scales, n)?,
                });
            }
        }
        check_names(&all)?;
        Ok(all)
    }

    /// Whether this is the method `method` of size `n`.
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

/// # Errors
/// [`Error::Input`] when two contenders have the same name and size.
pub(super) fn check_names(all: &[Contender]) -> Result<()> {
    for (i, one) in all.iter().enumerate() {
        if all[..i].iter().any(|other| other.is(&one.method, one.n)) {
            return Err(Error::input(format!("`{one}` is there twice"))
                .with_hint("name every method and every N once"));
        }
    }
    Ok(())
}
