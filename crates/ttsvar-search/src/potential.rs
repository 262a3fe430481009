//! The potential of a candidate: from its score and those of its ancestors to the exponent of its
//! resampling weight (paper, section 3.3; `calculate_replace_rate` in `tts-var/utils_model.py`).

use serde::{Deserialize, Serialize};

/// The function of a lineage's scores that resampling uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Potential {
    /// The latest score.
    #[default]
    Value,
    /// The latest score minus the previous one; at the first scoring the score itself.
    Diff,
    /// The best score so far.
    Max,
    /// The sum of the scores so far.
    Sum,
}

impl Potential {
    /// The potential of a lineage whose scores are `history`, oldest first; NaN when there are
    /// none.
    ///
    /// If the latest score is NaN, so is the potential. [`Potential::Max`] and [`Potential::Sum`]
    /// ignore an earlier NaN, and [`Potential::Diff`] starts again after one.
    pub fn apply(self, history: &[f32]) -> f64 {
        let Some((&now, past)) = history.split_last() else {
            return f64::NAN;
        };
        let now = f64::from(now);
        let mut past = past.iter().map(|&score| f64::from(score));
        match self {
            _ if now.is_nan() => f64::NAN,
            Self::Value => now,
            Self::Diff => {
                now - past
                    .next_back()
                    .filter(|score| !score.is_nan())
                    .unwrap_or(0.0)
            }
            Self::Max => past.fold(now, f64::max),
            Self::Sum => now + past.filter(|score| !score.is_nan()).sum::<f64>(),
        }
    }
}
