//! Errors of plans.

use crate::plan::{LAMBDA, MAX_ROWS};

/// A plan that cannot be read or carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The text is not a plan file.
    #[error("plan file, line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// A place in the plan has no rows.
    #[error("{at}: 0 rows, but a search needs at least 1")]
    NoRows {
        /// `start`, `rounds` or a scale.
        at: String,
    },
    /// A place in the plan has more than [`MAX_ROWS`] rows.
    #[error("{at}: {rows} rows, but a batch has at most {MAX_ROWS}")]
    TooManyRows {
        /// `start`, `rounds` or a scale.
        at: String,
        /// The number of rows.
        rows: usize,
    },
    /// Two stages act after the same scale.
    #[error("scale {scale}: has two stages")]
    TwoStages {
        /// Counted from 0.
        scale: usize,
    },
    /// A stage is listed after a stage of a later scale.
    #[error("scale {scale}: its stage comes after that of scale {previous}")]
    Order {
        /// The scale of the later entry.
        scale: usize,
        /// The scale of the entry before it.
        previous: usize,
    },
    /// A stage that cannot grow the batch asks for more rows than reach it.
    #[error("scale {scale}: {action} cannot make {width} rows from {rows}")]
    Grows {
        /// Counted from 0.
        scale: usize,
        /// `clustering`, `resampling`, `dropping` or `selecting above a score`.
        action: &'static str,
        /// Rows that reach the stage.
        rows: usize,
        /// Rows that should leave it.
        width: usize,
    },
    /// `top` does not keep between 1 row and all of them.
    #[error("scale {scale}: top {k} of {rows} rows")]
    Top {
        /// Counted from 0.
        scale: usize,
        /// Distinct rows to keep.
        k: usize,
        /// Rows that reach the stage.
        rows: usize,
    },
    /// `top` keeps more distinct rows than may leave the stage.
    #[error("scale {scale}: top {k} keeps more rows than the stage's width of {width}")]
    TopBeyondWidth {
        /// Counted from 0.
        scale: usize,
        /// Distinct rows to keep.
        k: usize,
        /// Rows that leave the stage.
        width: usize,
    },
    /// The weight of scores is negative or not finite.
    #[error("{}lambda is {lambda}, but must be a finite number, 0 or more", at_scale(*.scale))]
    Lambda {
        /// The scale of the stage, if it is known.
        scale: Option<usize>,
        /// The weight.
        lambda: f64,
    },
    /// The score that ends the rounds is not finite.
    #[error("`enough` is {0}, but must be a finite score")]
    Enough(f32),
    /// The score above which candidates continue is not finite.
    #[error("scale {scale}: `above` is {score}, but must be a finite score")]
    Above {
        /// Counted from 0.
        scale: usize,
        /// The score.
        score: f32,
    },
    /// More than one candidate must finish, but none is ever suspended.
    #[error("`finish` needs a stage that suspends candidates")]
    FinishWithoutAbove,
    /// `verifier` at a stage that does not score.
    #[error("scale {scale}: `verifier` belongs to a stage that scores")]
    StrayVerifier {
        /// Counted from 0.
        scale: usize,
    },
    /// `ahead` at a stage that uses no images.
    #[error("scale {scale}: `ahead` belongs to a stage that uses images")]
    StrayAhead {
        /// Counted from 0.
        scale: usize,
    },
    /// `enough` without `rounds`.
    #[error("`enough` ends the rounds of a plan, but this plan has no `rounds`")]
    EnoughWithoutRounds,
    /// A stage lacks `select`.
    #[error("scale {scale}: the stage has no `select`{}", width_change(*.rows, *.width))]
    MissingSelect {
        /// Counted from 0.
        scale: usize,
        /// Rows that reach the stage.
        rows: usize,
        /// Rows that should leave it.
        width: usize,
    },
    /// `lambda` or `draw` without `resample`.
    #[error("scale {scale}: `lambda` and `draw` belong to `resample`")]
    StrayResampleOption {
        /// Counted from 0.
        scale: usize,
    },
    /// `select` does not name exactly one way to choose.
    #[error("scale {scale}: `select` must name exactly one way to choose, not {found}")]
    SelectCount {
        /// Counted from 0.
        scale: usize,
        /// The number of ways it names.
        found: usize,
    },
    /// The model has no scales.
    #[error("a plan needs a model with at least one scale")]
    NoScales,
    /// A stage lies beyond the model's last scale.
    #[error("scale {scale}: the model's last scale is {last}")]
    BeyondLastScale {
        /// Counted from 0.
        scale: usize,
        /// Counted from 0.
        last: usize,
    },
    /// `above` after the last scale.
    #[error("scale {scale}: `above` acts after the last scale, where nothing is left to suspend")]
    AboveAtTheEnd {
        /// Counted from 0.
        scale: usize,
    },
    /// `verifier = "latent"` after the last scale.
    #[error(
        "scale {scale}: `verifier = \"latent\"` predicts scores, but this is the last scale, where images are scored"
    )]
    LatentAtTheEnd {
        /// Counted from 0.
        scale: usize,
    },
    /// `raw` with more than one sample.
    #[error("method raw draws one sample, not {0}")]
    RawWidth(usize),
}

impl PlanError {
    /// The remedy, if one is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Syntax { .. } => {
                "a plan is `start = ROWS`, then for each choice `[[stage]]` with `scale`, `width` \
                 and `select`, for example select = { cluster = \"pca\" }, \
                 { resample = \"value\", lambda = 10 } or { top = 3 }"
            }
            Self::NoRows { .. } => "choose 1 or more",
            Self::TooManyRows { .. } => {
                "choose a smaller N, or search several times with different seeds"
            }
            Self::TwoStages { .. } => {
                "only one stage can act after a scale; leave one out or move it to another scale"
            }
            Self::Order { .. } => "write the stages in the order of their scales",
            Self::Grows { rows, width, .. } => {
                return Some(format!(
                    "choose a width of {rows} or less; only `top` grows a batch: \
                     select = {{ top = {rows} }} with width = {width}"
                ));
            }
            Self::Top { scale, rows, .. } => {
                return Some(format!("{rows} rows reach scale {scale}; keep 1 to {rows}"));
            }
            Self::TopBeyondWidth { k, width, .. } => {
                return Some(format!("write top = {width}, or a width of {k} or more"));
            }
            Self::Lambda { .. } => {
                return Some(format!(
                    "the paper uses {LAMBDA}; 0 draws uniformly, larger values favour high scores"
                ));
            }
            Self::Enough(_) => "the search stops as soon as a finished image reaches this score",
            Self::Above { .. } => "candidates with this score or more continue at once",
            Self::FinishWithoutAbove => {
                "add a stage with select = { above = SCORE }, or leave `finish` out"
            }
            Self::StrayVerifier { .. } => "remove it, or select by `resample`, `top` or `above`",
            Self::StrayAhead { .. } => "remove it, or select by images with `cluster` or `top`",
            Self::EnoughWithoutRounds => {
                "`rounds = 8` and `enough = 1.0` repeat the plan up to 8 times, until a score of 1"
            }
            Self::MissingSelect { rows, width, .. } if rows == width => {
                "leave the stage out: scales without a stage choose nothing"
            }
            Self::MissingSelect { .. } => {
                "add select = { cluster = \"pca\" }, { resample = \"value\" } or { top = K } \
                 to the stage"
            }
            Self::StrayResampleOption { .. } => "remove them, or select by `resample`",
            Self::SelectCount { .. } => "keep one of `cluster`, `resample`, `top`, `above`, `drop`",
            Self::NoScales => "choose 1 scale or more",
            Self::BeyondLastScale { .. } => {
                "scales are numbered from 0; `ttsvar plan METHOD --model ...` writes a plan \
                 that fits the model"
            }
            Self::AboveAtTheEnd { .. } => "move the stage to an earlier scale",
            Self::LatentAtTheEnd { .. } => {
                "leave `verifier` out of this stage, or move the stage to an earlier scale"
            }
            Self::RawWidth(_) => "best-of-n draws N samples and keeps the best",
        };
        Some(hint.to_owned())
    }
}

fn width_change(rows: usize, width: usize) -> String {
    match rows == width {
        true => String::new(),
        false => format!(", but its width goes from {rows} to {width}"),
    }
}

fn at_scale(scale: Option<usize>) -> String {
    scale.map_or(String::new(), |scale| format!("scale {scale}: "))
}
