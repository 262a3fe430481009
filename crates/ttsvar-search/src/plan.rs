//! A search method as data: the number of rows at the start, and the scales after which rows are
//! chosen, each with the way to choose and the number of rows that continue.

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    PlanError,
    features::Features,
    pipeline::{DecodeSize, Workload},
    potential::Potential,
    verifier::Verifier,
};

/// The largest batch that a plan may have. It is far beyond the memory of any machine and catches
/// typing errors.
pub const MAX_ROWS: usize = 1 << 16;

/// The lambda of the weights `exp(lambda * potential)` in the paper and in the released program.
pub const LAMBDA: f64 = 10.0;

/// The way to draw rows by their weights, always with replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Each row is an independent draw, as in the released program.
    #[default]
    Multinomial,
    /// One random number shifts a set of equally spaced points over the weights: every row is drawn
    /// its expected number of times, rounded up or down (Kitagawa 1996).
    Systematic,
}

/// The way to choose the rows that continue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Select {
    /// The row nearest to the centre of each cluster (paper, section 3.2).
    Cluster {
        /// The features to cluster on.
        features: Features,
    },
    /// Rows drawn with replacement, weight `exp(lambda * potential)` (paper, section 3.3).
    Resample {
        /// The function of a candidate's scores.
        potential: Potential,
        /// The greediness: 0 draws evenly, large values draw only the best. Finite and not
        /// negative.
        lambda: f64,
        /// The way to draw rows.
        draw: Draw,
    },
    /// The best rows by their present score, each continued equally often. Only this can enlarge a
    /// batch.
    Top {
        /// The number of distinct rows that continue.
        k: usize,
    },
    /// The rows whose present score is at least this, best first, no more than the stage's width.
    /// All others are suspended: they keep their state, and the best of them are resumed at the end
    /// if too few candidates have finished ([`Plan::finish`]).
    Above {
        /// The score. Finite.
        score: f32,
    },
    /// Random rows, each at most once, without decoding any image: the control for clustering.
    Drop,
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { features } => write!(f, "cluster {features}"),
            Self::Resample {
                potential,
                lambda,
                draw,
            } => {
                write!(f, "resample {potential}, lambda {lambda}")?;
                if *draw == Draw::default() {
                    Ok(())
                } else {
                    write!(f, ", {draw}")
                }
            }
            Self::Top { k } => write!(f, "top {k}"),
            Self::Above { score } => write!(f, "above {score}"),
            Self::Drop => f.write_str("drop at random"),
        }
    }
}

/// A choice of rows after a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The scale after which rows are chosen, counted from 0.
    pub scale: usize,
    /// The number of rows that continue; with [`Select::Above`] the most that continue.
    pub width: usize,
    /// The way to choose them.
    pub select: Select,
    /// What is scored, if the way to choose uses scores.
    pub verifier: Verifier,
    /// How many scales the images are ahead that the stage uses, at most up to the last scale: each
    /// row is drawn that far for this purpose alone.
    pub ahead: usize,
}

impl Stage {
    /// A stage that scores images, if it scores.
    pub fn new(scale: usize, width: usize, select: Select) -> Self {
        Self {
            scale,
            width,
            select,
            verifier: Verifier::Image,
            ahead: 0,
        }
    }

    /// The same stage with images that are so many scales ahead.
    pub fn looking(self, ahead: usize) -> Self {
        Self { ahead, ..self }
    }

    /// The scales that are drawn for the images of this stage alone, in a model of `scales` scales.
    pub fn scales_ahead(&self, scales: usize) -> Range<usize> {
        let first = self.scale + 1;
        let beyond = first.saturating_add(self.ahead).min(scales);
        first..beyond.max(first)
    }

    /// The way to choose and how far it looks ahead, as text.
    pub fn description(&self) -> String {
        match self.ahead {
            0 => self.select.to_string(),
            1 => format!("{}, 1 scale ahead", self.select),
            ahead => format!("{}, {ahead} scales ahead", self.select),
        }
    }

    /// Returns whether the stage uses decoded images.
    pub fn uses_images(&self) -> bool {
        match self.select {
            Select::Cluster { features } => features != Features::Latent,
            Select::Drop => false,
            Select::Resample { .. } | Select::Top { .. } | Select::Above { .. } => {
                self.verifier == Verifier::Image
            }
        }
    }

    /// Returns whether the stage suspends the rows that do not continue.
    pub fn suspends(&self) -> bool {
        matches!(self.select, Select::Above { .. })
    }

    /// Returns whether the stage lets a verifier choose in a model of `scales` scales: it scores
    /// candidates that are not finished.
    pub fn has_verifier(&self, scales: usize) -> bool {
        self.select.scores() && self.scale + 1 < scales
    }

    /// Returns whether the stage scores with this verifier.
    pub fn scores_with(&self, verifier: Verifier) -> bool {
        self.select.scores() && self.verifier == verifier
    }
}

/// A complete search method. All rows pass a scale without a stage; after the last scale every
/// remaining row is scored once and the best one wins.
///
/// A plan guarantees: 1 to [`MAX_ROWS`] rows everywhere; stages in the order of their scales, at
/// most one per scale; no stage chooses more rows than its way to choose allows. The number of
/// scales depends on the model: see [`Plan::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    try_from = "crate::plan_file::PlanFile",
    into = "crate::plan_file::PlanFile"
)]
pub struct Plan {
    start: usize,
    stages: Vec<Stage>,
    rounds: usize,
    enough: Option<f32>,
    finish: usize,
}

/// Options of a plan, for the parts to which they apply; unset ones leave a part unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlanOptions {
    /// The features to cluster on.
    pub features: Option<Features>,
    /// The potential that resampling derives from scores.
    pub potential: Option<Potential>,
    /// The greediness of resampling; 0 draws evenly.
    pub lambda: Option<f64>,
    /// The way in which resampling draws.
    pub draw: Option<Draw>,
    /// What stages score.
    pub verifier: Option<Verifier>,
    /// The score above which candidates are not suspended.
    pub above: Option<f32>,
    /// The score that ends the rounds.
    pub enough: Option<f32>,
    /// The least number of candidates that finish, if stages suspend candidates.
    pub finish: Option<usize>,
}

impl Plan {
    /// A plan of `start` rows at scale 0 and the given stages.
    ///
    /// # Errors
    /// [`PlanError`] names the scale at which the plan cannot be carried out.
    pub fn new(start: usize, stages: Vec<Stage>) -> Result<Self, PlanError> {
        check_rows("start", start)?;
        let mut rows = start;
        let mut previous = None;
        for stage in &stages {
            check_order(previous, stage)?;
            check_stage(rows, stage)?;
            rows = stage.width;
            previous = Some(stage);
        }
        Ok(Self {
            start,
            stages,
            rounds: 1,
            enough: None,
            finish: 1,
        })
    }

    /// The same plan carried out up to `rounds` times, each time with new rows, until a finished
    /// image reaches the score `enough`. Prompts that are easy for the model then cost little,
    /// which leaves more rounds for the others.
    ///
    /// # Errors
    /// [`PlanError`] when there are no rounds, too many rows in all, or `enough` is not finite.
    pub fn until(self, rounds: usize, enough: f32) -> Result<Self, PlanError> {
        if !enough.is_finite() {
            return Err(PlanError::Enough(enough));
        }
        let plan = Self {
            enough: Some(enough),
            ..self
        };
        plan.repeated(rounds)
    }

    /// The same plan carried out up to `rounds` times, each time with new rows.
    ///
    /// # Errors
    /// [`PlanError`] when there are no rounds, or too many rows in all.
    pub fn repeated(self, rounds: usize) -> Result<Self, PlanError> {
        check_rows("rounds", rounds.saturating_mul(self.start))?;
        Ok(Self { rounds, ..self })
    }

    /// The same plan with as many rounds as a search may have, for searches with a budget.
    pub fn unlimited(self) -> Self {
        let rounds = MAX_ROWS / self.start;
        Self { rounds, ..self }
    }

    /// The plan that repeats a search which a budget ended.
    pub(super) fn ended(&mut self, rounds: usize, finished: usize) {
        self.rounds = rounds;
        self.finish = self.finish.min(finished).max(1);
    }

    /// The same plan that finishes at least `finish` candidates: when all rounds are over, suspended
    /// candidates are resumed, best first, until as many have finished or the score
    /// [`Plan::enough`] is reached.
    ///
    /// # Errors
    /// [`PlanError`] when `finish` is 0 or larger than any batch, or no stage suspends candidates.
    pub fn finishing(self, finish: usize) -> Result<Self, PlanError> {
        check_rows("finish", finish)?;
        if finish > 1 && !self.suspends() {
            return Err(PlanError::FinishWithoutAbove);
        }
        Ok(Self { finish, ..self })
    }

    /// The least number of candidates that finish, as far as there are any.
    pub fn finish(&self) -> usize {
        self.finish
    }

    /// Returns whether a stage suspends candidates.
    pub fn suspends(&self) -> bool {
        self.stages.iter().any(Stage::suspends)
    }

    /// The maximum number of times that the plan is carried out.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// The score that ends the rounds, if there is one.
    pub fn enough(&self) -> Option<f32> {
        self.enough
    }

    /// The number of rows at scale 0 of every round.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The stages, in the order of their scales.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stage after `scale`, if there is one.
    pub fn stage(&self, scale: usize) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.scale == scale)
    }

    /// Checks that a model of `scales` scales can carry out this plan.
    ///
    /// # Errors
    /// [`PlanError`] when a stage lies beyond the last scale, a stage suspends finished candidates
    /// or predicts their scores, or there are no scales.
    pub fn check(&self, scales: usize) -> Result<(), PlanError> {
        let Some(last) = scales.checked_sub(1) else {
            return Err(PlanError::NoScales);
        };
        match self.stages.last() {
            Some(&Stage { scale, .. }) if scale > last => {
                Err(PlanError::BeyondLastScale { scale, last })
            }
            Some(stage) if stage.scale == last && stage.suspends() => {
                Err(PlanError::AboveAtTheEnd { scale: last })
            }
            Some(stage) if stage.scale == last && stage.scores_with(Verifier::Latent) => {
                Err(PlanError::LatentAtTheEnd { scale: last })
            }
            _ => Ok(()),
        }
    }

    /// The most rows that a round computes at each of `scales` scales.
    pub fn widths(&self, scales: usize) -> Vec<usize> {
        let before = |scale| {
            self.stages
                .iter()
                .rev()
                .find(move |stage| stage.scale < scale)
        };
        (0..scales)
            .map(|scale| before(scale).map_or(self.start, |stage| stage.width))
            .collect()
    }

    /// The most images that a search by this plan finishes.
    pub fn most_finished(&self) -> usize {
        let of_round = self.stages.last().map_or(self.start, |stage| stage.width);
        let of_rounds = of_round.saturating_mul(self.rounds);
        // Suspended candidates are resumed as well, but only while fewer than `finish` have finished.
        let with_resumed = of_rounds.saturating_add(self.most_suspended());
        of_rounds.max(self.finish.min(with_resumed))
    }

    /// The most candidates that the stages of all rounds suspend.
    fn most_suspended(&self) -> usize {
        let mut rows = self.start;
        let mut suspended: usize = 0;
        for stage in &self.stages {
            if stage.suspends() {
                suspended += rows;
            }
            rows = stage.width;
        }
        suspended.saturating_mul(self.rounds)
    }

    /// Returns whether candidates are compared by scores: there are several, or a stage uses scores.
    pub fn compares(&self) -> bool {
        let scored = self.stages.iter().any(|stage| stage.select.scores());
        scored || self.start.saturating_mul(self.rounds) > 1
    }

    /// Returns whether a stage after `scale` uses images.
    pub fn looks(&self, scale: usize) -> bool {
        self.stage(scale).is_some_and(Stage::uses_images)
    }

    /// What a search by this plan will at most compute at once in a model of `scales` scales: one
    /// round, beside the candidates that earlier ones suspended.
    pub fn workload(&self, scales: usize, size: DecodeSize) -> Workload {
        let most = self.finish.min(self.most_suspended());
        let mut suspended = vec![0; scales];
        for stage in &self.stages {
            if stage.suspends() && stage.scale < scales {
                suspended[stage.scale] = most;
            }
        }
        Workload {
            widths: self.computed(scales),
            suspended,
            decodes: self.decodes(scales),
            size,
        }
    }

    /// The number of images that a round decodes after each of `scales` scales: all rows where a
    /// stage uses images, and after the last scale.
    pub fn decodes(&self, scales: usize) -> Vec<usize> {
        let widths = self.widths(scales);
        let decoded = |scale| scale + 1 == scales || self.looks(scale);
        widths
            .into_iter()
            .enumerate()
            .map(|(scale, rows)| if decoded(scale) { rows } else { 0 })
            .collect()
    }

    /// The most rows that a round computes at each of `scales` scales, those included that stages
    /// draw to look ahead.
    fn computed(&self, scales: usize) -> Vec<usize> {
        let rows = self.widths(scales);
        let mut computed = rows.clone();
        for stage in &self.stages {
            for scale in stage.scales_ahead(scales) {
                computed[scale] += rows[stage.scale];
            }
        }
        computed
    }

    /// The most images that a round scores in a model of `scales` scales: all rows where a stage
    /// scores images, and the remaining rows at the end.
    pub fn scorings(&self, scales: usize) -> usize {
        let widths = self.widths(scales);
        let last = scales.saturating_sub(1);
        let scoring = |stage: &&Stage| stage.scores_with(Verifier::Image);
        let reading = self.stages.iter().filter(scoring);
        let stages: usize = reading.map(|stage| widths[stage.scale]).sum();
        match self.stage(last) {
            Some(stage) if stage.scores_with(Verifier::Image) => stages,
            Some(stage) => stages + stage.width,
            None => stages + widths.last().copied().unwrap_or(0),
        }
    }

    /// The most candidates that a round scores by their latents in a model of `scales` scales.
    pub fn verifications(&self, scales: usize) -> usize {
        let widths = self.widths(scales);
        let scoring = |stage: &&Stage| stage.scores_with(Verifier::Latent);
        let stages = self.stages.iter().filter(scoring);
        stages.map(|stage| widths[stage.scale]).sum()
    }

    /// The kinds of features that the stages use, each once.
    pub fn features(&self) -> Vec<Features> {
        let mut kinds: Vec<_> = self
            .stages
            .iter()
            .filter_map(|stage| stage.select.features())
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The same plan with these options wherever they apply in a model of `scales` scales: the
    /// verifier applies before the last one.
    ///
    /// # Errors
    /// [`PlanError`] when a number is out of its range.
    pub fn with(mut self, options: PlanOptions, scales: usize) -> Result<Self, PlanError> {
        if let Some(lambda) = options.lambda {
            check_lambda(None, lambda)?;
        }
        if let (Some(enough), Some(_)) = (options.enough, self.enough) {
            let rounds = self.rounds;
            self = self.until(rounds, enough)?;
        }
        if let (Some(finish), true) = (options.finish, self.suspends()) {
            self = self.finishing(finish)?;
        }
        for stage in &mut self.stages {
            if let Some(verifier) = options.verifier
                && stage.has_verifier(scales)
            {
                stage.verifier = verifier;
            }
            stage.select = match stage.select {
                Select::Cluster { features } => Select::Cluster {
                    features: options.features.unwrap_or(features),
                },
                Select::Resample {
                    potential,
                    lambda,
                    draw,
                } => Select::Resample {
                    potential: options.potential.unwrap_or(potential),
                    lambda: options.lambda.unwrap_or(lambda),
                    draw: options.draw.unwrap_or(draw),
                },
                Select::Above { score } => Select::Above {
                    score: options.above.unwrap_or(score),
                },
                other => other,
            };
            if let Select::Above { score } = stage.select {
                check_above(stage.scale, score)?;
            }
            check_ahead(stage)?;
        }
        Ok(self)
    }
}

impl Select {
    /// Returns whether this choice uses scores.
    pub fn scores(&self) -> bool {
        matches!(
            self,
            Self::Resample { .. } | Self::Top { .. } | Self::Above { .. }
        )
    }

    /// The features that this choice uses, if any.
    pub fn features(&self) -> Option<Features> {
        match self {
            Self::Cluster { features } => Some(*features),
            _ => None,
        }
    }
}

pub(super) fn check_rows(at: &str, rows: usize) -> Result<(), PlanError> {
    match rows {
        0 => Err(PlanError::NoRows { at: at.to_owned() }),
        1..=MAX_ROWS => Ok(()),
        _ => Err(PlanError::TooManyRows {
            at: at.to_owned(),
            rows,
        }),
    }
}

fn check_order(previous: Option<&Stage>, stage: &Stage) -> Result<(), PlanError> {
    let scale = stage.scale;
    match previous.map(|previous| previous.scale) {
        Some(previous) if previous == scale => Err(PlanError::TwoStages { scale }),
        Some(previous) if previous > scale => Err(PlanError::Order { scale, previous }),
        _ => Ok(()),
    }
}

fn check_stage(rows: usize, stage: &Stage) -> Result<(), PlanError> {
    let scale = stage.scale;
    let width = stage.width;
    check_rows(&format!("scale {scale}"), width)?;
    check_ahead(stage)?;
    let fits = |action| match width <= rows {
        true => Ok(()),
        false => Err(PlanError::Grows {
            scale,
            action,
            rows,
            width,
        }),
    };
    match stage.select {
        Select::Cluster { .. } => fits("clustering"),
        Select::Drop => fits("dropping"),
        Select::Above { score } => {
            fits("selecting above a score")?;
            check_above(scale, score)
        }
        Select::Resample { lambda, .. } => {
            fits("resampling")?;
            check_lambda(Some(scale), lambda)
        }
        Select::Top { k } if k == 0 || k > rows => Err(PlanError::Top { scale, k, rows }),
        Select::Top { k } if k > width => Err(PlanError::TopBeyondWidth { scale, k, width }),
        Select::Top { .. } => Ok(()),
    }
}

fn check_ahead(stage: &Stage) -> Result<(), PlanError> {
    match stage.ahead == 0 || stage.uses_images() {
        true => Ok(()),
        false => Err(PlanError::StrayAhead { scale: stage.scale }),
    }
}

fn check_above(scale: usize, score: f32) -> Result<(), PlanError> {
    if score.is_finite() {
        return Ok(());
    }
    Err(PlanError::Above { scale, score })
}

fn check_lambda(scale: Option<usize>, lambda: f64) -> Result<(), PlanError> {
    if lambda.is_finite() && lambda >= 0.0 {
        return Ok(());
    }
    Err(PlanError::Lambda { scale, lambda })
}
