//! Scores of images by scorers that the search did not use. A search overfits its own scorer; a
//! scorer that it never saw shows whether images have become better.

use serde::{Deserialize, Serialize};
use ttsvar_search::{Image, Scorer, number};

use crate::{Error, Result};

/// A scorer that searches do not use.
#[derive(Clone, Copy)]
pub struct HeldOutScorer<'a> {
    /// Its name in records and tables.
    pub name: &'a str,
    /// The scorer.
    pub scorer: &'a dyn Scorer,
}

/// The score of an image by one scorer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedScore {
    /// The scorer.
    pub scorer: String,
    /// Its score.
    #[serde(with = "number")]
    pub score: f32,
}

/// The scores of an image by held-out scorers, in their order.
///
/// # Errors
/// A scorer fails, or does not return one score.
pub(super) fn score(
    scorers: &[HeldOutScorer],
    prompt: &str,
    image: &Image,
) -> Result<Vec<NamedScore>> {
    let mut all = Vec::with_capacity(scorers.len());
    for HeldOutScorer { name, scorer } in scorers {
        let scores = scorer.score(prompt, std::slice::from_ref(image))?;
        let [score] = scores[..] else {
            let count = scores.len();
            return Err(Error::internal(format!(
                "the scorer `{name}` returned {count} scores for an image"
            )));
        };
        all.push(NamedScore {
            scorer: (*name).to_owned(),
            score,
        });
    }
    Ok(all)
}
