//! Odd cases that a search survives. They are values, so that traces keep them and tests count
//! them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something odd that did not stop a search. Scales count from 0; ids are those of the trace's
/// candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Scores are NaN or minus infinity. Such candidates get no weight and lose against every
    /// number.
    LostScores {
        /// Where the scores were given.
        scale: usize,
        /// Whose scores they are.
        ids: Vec<usize>,
    },
    /// Scores are infinite, or the weights that were formed of them. Such candidates win against
    /// every number, and in a draw share all the weight evenly.
    InfiniteScores {
        /// Where the scores were given.
        scale: usize,
        /// Whose scores they are.
        ids: Vec<usize>,
    },
    /// No candidate has any weight. All are drawn evenly.
    AllWeightsZero {
        /// Where the weights were formed.
        scale: usize,
    },
    /// Features are NaN or infinite. Such candidates form no clusters; they fill up what the others
    /// leave.
    LostFeatures {
        /// Where the features were extracted.
        scale: usize,
        /// Whose features they are.
        ids: Vec<usize>,
    },
    /// There are fewer distinct rows of features than clusters. Each distinct row goes on, the
    /// others fill up in their order.
    FewDistinct {
        /// Where the features were extracted.
        scale: usize,
        /// Distinct rows.
        distinct: usize,
        /// Clusters that the plan asks for.
        clusters: usize,
    },
}

impl Warning {
    /// The scale after which it happened.
    pub fn scale(&self) -> usize {
        match self {
            Self::LostScores { scale, .. }
            | Self::InfiniteScores { scale, .. }
            | Self::AllWeightsZero { scale }
            | Self::LostFeatures { scale, .. }
            | Self::FewDistinct { scale, .. } => *scale,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::LostScores { .. } | Self::InfiniteScores { .. } | Self::AllWeightsZero { .. } => {
                "check the scorer: its weights may be damaged, or its precision too low for these images"
            }
            Self::LostFeatures { .. } => {
                "check the features: their weights may be damaged, or their precision too low"
            }
            Self::FewDistinct { .. } => {
                "the candidates are alike; cluster after a later scale, or sample with more variety (larger tau)"
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostScores { scale, ids } => {
                write!(
                    f,
                    "scale {scale}: {} scores are NaN or minus infinity; they count as the lowest",
                    ids.len()
                )
            }
            Self::InfiniteScores { scale, ids } => {
                write!(
                    f,
                    "scale {scale}: {} weights are infinite; they share all the weight",
                    ids.len()
                )
            }
            Self::AllWeightsZero { scale } => write!(
                f,
                "scale {scale}: all weights are zero; every row is as likely"
            ),
            Self::LostFeatures { scale, ids } => {
                write!(
                    f,
                    "scale {scale}: features of {} images are NaN or infinite; they form no clusters",
                    ids.len()
                )
            }
            Self::FewDistinct {
                scale,
                distinct,
                clusters,
            } => {
                write!(
                    f,
                    "scale {scale}: {clusters} clusters asked for, but only {distinct} images differ"
                )
            }
        }
    }
}
