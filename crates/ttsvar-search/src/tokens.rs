//! Statistics of drawn tokens: how sure the generator was of what it drew.
//!
//! They are only recorded. As selection criteria they are close to noise: `docs/trace.md` has the
//! figures.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, number, trace::Trace};

/// The largest mean entropy in bits. No generator draws from more than 2^64 values at once.
const MAX_ENTROPY: f32 = 64.0;

/// The smallest mean log-likelihood. No number that a computer keeps as a probability has a smaller
/// logarithm.
const MIN_LOG_LIKELIHOOD: f32 = -1000.0;

/// Statistics of the tokens that a candidate drew at a scale, under the distributions that they
/// were drawn from: after guidance, temperature and truncation.
///
/// Both numbers are means over single draws. A generator that draws a token bit by bit has a draw
/// for each bit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenStatistics {
    /// The scale.
    pub scale: usize,
    /// Mean entropy of the distributions, in bits.
    #[serde(with = "number")]
    pub entropy: f32,
    /// Mean natural logarithm of the probabilities of the drawn values.
    #[serde(with = "number")]
    pub log_likelihood: f32,
}

impl TokenStatistics {
    /// Returns whether both numbers are possible.
    pub(crate) fn is_possible(&self) -> bool {
        (0.0..=MAX_ENTROPY).contains(&self.entropy)
            && (MIN_LOG_LIKELIHOOD..=0.0).contains(&self.log_likelihood)
    }

    /// The possible numbers in words, for messages.
    pub(crate) fn possible() -> String {
        format!(
            "an entropy from 0 to {MAX_ENTROPY} bits \
             and a log-likelihood from {MIN_LOG_LIKELIHOOD} to 0"
        )
    }
}

impl Trace {
    /// Records what the candidates `ids` drew at a scale; `found` is empty if nobody asked for it.
    ///
    /// # Errors
    /// [`Error::Internal`] if the generator returned other numbers than it should.
    pub(crate) fn add_tokens(
        &mut self,
        ids: &[usize],
        scale: usize,
        found: &[TokenStatistics],
    ) -> Result<()> {
        if !found.is_empty() && found.len() != ids.len() {
            return Err(Error::internal(format!(
                "the generator returned {} token statistics for {} rows",
                found.len(),
                ids.len()
            )));
        }
        for (&id, tokens) in ids.iter().zip(found) {
            if tokens.scale != scale || !tokens.is_possible() {
                return Err(Error::internal(format!(
                    "the generator returned {tokens:?} at scale {scale}, expected {}",
                    TokenStatistics::possible()
                )));
            }
            self.candidates[id].tokens.push(*tokens);
        }
        Ok(())
    }

    /// The mean of the statistics of all candidates that drew a scale; `None` if none has any.
    pub fn mean_tokens(&self, scale: usize) -> Option<TokenStatistics> {
        let candidates = self.candidates.iter();
        let all = candidates.flat_map(|candidate| &candidate.tokens);
        let here: Vec<&TokenStatistics> = all.filter(|tokens| tokens.scale == scale).collect();
        let mean = |number: fn(&TokenStatistics) -> f32| {
            let sum: f32 = here.iter().map(|tokens| number(tokens)).sum();
            sum / here.len() as f32
        };
        (!here.is_empty()).then(|| TokenStatistics {
            scale,
            entropy: mean(|tokens| tokens.entropy),
            log_likelihood: mean(|tokens| tokens.log_likelihood),
        })
    }
}
