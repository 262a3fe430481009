//! Warnings of a search. They are values, which traces can record and tests can count.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// An anomaly that did not stop the search. Scales count from 0; ids are those of the trace's
/// candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Scores are NaN or minus infinity. These candidates get no weight and rank below all others.
    LostScores {
        /// The scale after which the images were scored.
        scale: usize,
        /// The candidates.
        ids: Vec<usize>,
    },
    /// Scores or the potentials derived from them are infinite. These candidates rank above all
    /// others, and in a draw they share all the weight evenly.
    InfiniteScores {
        /// The scale after which the images were scored.
        scale: usize,
        /// The candidates.
        ids: Vec<usize>,
    },
    /// No candidate has any weight; all are drawn evenly.
    AllWeightsZero {
        /// The scale after which rows were drawn.
        scale: usize,
    },
    /// Features are NaN or infinite. These candidates belong to no cluster and only fill places
    /// that the others leave.
    LostFeatures {
        /// The scale after which features were computed.
        scale: usize,
        /// The candidates.
        ids: Vec<usize>,
    },
    /// There are fewer distinct rows of features than clusters. Each distinct row continues, and
    /// the others fill the remaining places in their order.
    FewDistinct {
        /// The scale after which features were computed.
        scale: usize,
        /// Distinct rows.
        distinct: usize,
        /// Clusters that the plan asks for.
        clusters: usize,
    },
    /// The latent verifier was not trained for the scale after which the plan uses it.
    UntrainedScale {
        /// The scale after which latents are scored.
        scale: usize,
        /// The scales that it was trained for.
        trained: Vec<usize>,
    },
    /// A scorer that the search does not use could not score the finished images. The record lacks
    /// its scores.
    HeldOutFailed {
        /// The scorer.
        scorer: String,
        /// Its error.
        error: String,
    },
    /// A text encoder or a scorer reads only the beginning of a prompt.
    CutPrompt {
        /// The reader: `the scorer hps`.
        reader: String,
        /// The number of tokens that it reads.
        limit: usize,
        /// The end of the prompt, which it does not read.
        dropped: String,
        /// Whether it is the negative prompt.
        negative: bool,
    },
    /// The generator does not know words of a prompt.
    UnknownWords {
        /// The words, in the order of their first use.
        words: Vec<String>,
        /// All words that it knows.
        known: Vec<String>,
        /// Whether it is the negative prompt.
        negative: bool,
    },
}

/// Characters of a dropped text that messages show, from its beginning and from its end.
const SHOWN: [usize; 2] = [120, 60];

impl Warning {
    /// The scale after which the anomaly occurred; `None` if it is about the prompt.
    pub fn scale(&self) -> Option<usize> {
        match self {
            Self::LostScores { scale, .. }
            | Self::InfiniteScores { scale, .. }
            | Self::AllWeightsZero { scale }
            | Self::LostFeatures { scale, .. }
            | Self::FewDistinct { scale, .. }
            | Self::UntrainedScale { scale, .. } => Some(*scale),
            Self::HeldOutFailed { .. } | Self::CutPrompt { .. } | Self::UnknownWords { .. } => None,
        }
    }

    /// The advice that front ends print with the warning.
    pub fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::LostScores { .. } | Self::InfiniteScores { .. } | Self::AllWeightsZero { .. } => {
                "check the scorer: its weights may be damaged, \
                 or its precision too low for these images"
                    .into()
            }
            Self::LostFeatures { .. } => {
                "check the features: their weights may be damaged, or their precision too low"
                    .into()
            }
            Self::FewDistinct { .. } => "the candidates are alike; cluster after a later scale, \
                 or sample with more variety (larger tau)"
                .into(),
            Self::UntrainedScale { .. } => {
                "move the stage to such a scale, or score images there: verifier = \"image\"".into()
            }
            Self::HeldOutFailed { .. } => {
                "the image is kept; `ttsvar score` can score it later".into()
            }
            Self::CutPrompt { .. } => "shorten the prompt, or begin with what matters most".into(),
            Self::UnknownWords { known, .. } => {
                format!("it knows these words: {}", known.join(", ")).into()
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostScores { scale, ids } => {
                let lost = counted(ids, "score is", "scores are");
                write!(
                    f,
                    "scale {scale}: {lost} NaN or minus infinity and ranked below all others"
                )
            }
            Self::InfiniteScores { scale, ids } => {
                let infinite = counted(ids, "score is", "scores are");
                write!(
                    f,
                    "scale {scale}: {infinite} infinite and ranked above all others"
                )
            }
            Self::AllWeightsZero { scale } => write!(
                f,
                "scale {scale}: all weights are zero; all rows are equally likely"
            ),
            Self::LostFeatures { scale, ids } => {
                let images = counted(ids, "image", "images");
                write!(
                    f,
                    "scale {scale}: features of {images} are NaN or infinite; \
                     no cluster contains them"
                )
            }
            Self::FewDistinct {
                scale,
                distinct,
                clusters,
            } => {
                write!(
                    f,
                    "scale {scale}: {clusters} clusters need as many different images, found {distinct}"
                )
            }
            Self::UntrainedScale { scale, trained } => {
                let trained: Vec<String> = trained.iter().map(usize::to_string).collect();
                write!(
                    f,
                    "scale {scale}: the latent verifier was trained for other scales: {}",
                    trained.join(", ")
                )
            }
            Self::HeldOutFailed { scorer, error } => {
                write!(f, "the held-out scorer {scorer} failed: {error}")
            }
            Self::CutPrompt {
                reader,
                limit,
                dropped,
                negative,
            } => {
                let prompt = prompt_name(*negative);
                let dropped = shortened(dropped.trim());
                write!(
                    f,
                    "{reader} reads only the first {limit} tokens of the {prompt}; \
                     it drops: {dropped}"
                )
            }
            Self::UnknownWords {
                words, negative, ..
            } => {
                let prompt = prompt_name(*negative);
                write!(
                    f,
                    "the generator does not know these words of the {prompt}: {}",
                    words.join(", ")
                )
            }
        }
    }
}

/// A number of candidates with the singular or the plural of a word.
fn counted(ids: &[usize], one: &str, several: &str) -> String {
    let word = if ids.len() == 1 { one } else { several };
    format!("{} {word}", ids.len())
}

fn prompt_name(negative: bool) -> &'static str {
    if negative {
        "negative prompt"
    } else {
        "prompt"
    }
}

/// The beginning and the end of a text that is too long for a message.
fn shortened(text: &str) -> String {
    let count = text.chars().count();
    let [first, last] = SHOWN;
    if count <= first + last {
        return text.to_owned();
    }
    let start: String = text.chars().take(first).collect();
    let end: String = text.chars().skip(count - last).collect();
    format!("{start} … {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shown_from_both_ends() {
        let cut = |dropped: &str| {
            let warning = Warning::CutPrompt {
                reader: "the scorer s".to_owned(),
                limit: 9,
                dropped: dropped.to_owned(),
                negative: true,
            };
            warning.to_string()
        };
        assert_eq!(
            cut(" blue star "),
            "the scorer s reads only the first 9 tokens of the negative prompt; it drops: blue star"
        );
        let long = cut(&format!("{}ünd a blue star", "é ".repeat(500)));
        assert!(
            long.ends_with("ünd a blue star") && long.chars().count() < 300,
            "{long}"
        );
    }
}
