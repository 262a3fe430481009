//! The method of the paper and its baselines, each as a plan for any number of scales.

use serde::{Deserialize, Serialize};

use crate::{
    PlanError,
    features::Features,
    plan::{Draw, LAMBDA, Plan, Select, Stage, check_rows},
    potential::Potential,
    verifier::Verifier,
};

/// A search method by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// One sample without a search.
    Raw,
    /// N finished samples, the best one wins.
    BestOfN,
    /// N finished samples, one of them drawn by its weight.
    Importance,
    /// N rows; once partial images can be scored, the better half continues, each row twice.
    Beam,
    /// The same, but scored by what each row would be one scale later.
    Lookahead,
    /// N rows; after one look at the partial images the better quarter finishes.
    Draft,
    /// One sample after the other, up to N, until one reaches a score; the best one wins.
    Sequential,
    /// The same, but a sample that looks weak while it is unfinished is suspended, and resumed only
    /// if nothing better appears.
    #[default]
    Auto,
    /// Clustering at coarse scales, resampling at finer ones (the paper's method).
    TtsVar,
}

impl Method {
    /// Every method, from the simplest to the paper's.
    pub const ALL: [Self; 9] = [
        Self::Raw,
        Self::BestOfN,
        Self::Importance,
        Self::Beam,
        Self::Lookahead,
        Self::Draft,
        Self::Sequential,
        Self::Auto,
        Self::TtsVar,
    ];

    /// One line for users who choose among the methods.
    pub fn description(self) -> &'static str {
        match self {
            Self::Raw => "one sample, without a search",
            Self::BestOfN => "N finished candidates; the best one wins",
            Self::Importance => "N finished candidates; one is drawn according to the scores",
            Self::Beam => "N candidates; the better half continues, each of them twice",
            Self::Lookahead => "like beam, but each candidate is scored one scale ahead",
            Self::Draft => "N candidates, scored once on the way; the best quarter finishes",
            Self::Sequential => "one candidate after the other, up to N, until one is good enough",
            Self::Auto => "one candidate after the other; weak ones are suspended unfinished",
            Self::TtsVar => "8N candidates; clustered while coarse, resampled while fine",
        }
    }

    /// The N that suits most uses.
    pub fn usual_n(self) -> usize {
        match self {
            Self::Raw | Self::TtsVar => 1,
            Self::BestOfN | Self::Importance => 4,
            Self::Beam | Self::Lookahead | Self::Draft => 8,
            Self::Sequential | Self::Auto => 16,
        }
    }

    /// The number of candidates that finish at size `n` where nothing else is set; `None` for
    /// methods without that choice.
    pub fn usual_finish(self, n: usize) -> Option<usize> {
        match self {
            Self::Draft => Some(quarter(n)),
            Self::Auto => Some(FINISH),
            _ => None,
        }
    }

    /// The plan of this method at size `n` for a model of `scales` scales.
    ///
    /// # Errors
    /// [`PlanError`] when `n` is 0 or larger than any batch, or not 1 for [`Method::Raw`].
    pub fn plan(self, scales: usize, n: usize) -> Result<Plan, PlanError> {
        self.plan_for(scales, n, Drafts::default())
    }

    /// The same for a model whose unfinished candidates are scored in its own way.
    ///
    /// # Errors
    /// As [`Method::plan`].
    pub fn plan_for(self, scales: usize, n: usize, drafts: Drafts) -> Result<Plan, PlanError> {
        match self {
            Self::Raw if n == 1 => Plan::raw(scales),
            Self::Raw => Err(PlanError::RawWidth(n)),
            Self::BestOfN => Plan::best_of_n(scales, n),
            Self::Importance => Plan::importance(scales, n),
            Self::Beam => Plan::beam(scales, n),
            Self::Lookahead => Plan::lookahead(scales, n),
            Self::Draft => Plan::draft(scales, n, drafts),
            Self::Sequential => Plan::sequential(scales, n),
            Self::Auto => Plan::auto(scales, n, drafts),
            Self::TtsVar => Plan::tts_var(scales, n, Schedule::Released),
        }
    }
}

/// The reading of the paper's widths {8N,8N,6N,6N,6N,4N,2N,2N,2N,N,N,N,N}.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// As rows that leave a scale: rows are chosen after the scale at which the number drops, as in
    /// the released program. The computed rows are 8,8,8,6,6,6,4,2,2,2,1,1,1 times N.
    #[default]
    Released,
    /// As rows that are computed at a scale: every choice happens one scale earlier.
    Paper,
}

/// How a model's unfinished candidates are scored by [`Plan::auto`] and [`Plan::draft`]. The default
/// fits any model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drafts {
    /// What is scored.
    pub verifier: Verifier,
    /// The scale after which it is scored, at the latest the last but one; by default two thirds of
    /// the way.
    pub scale: Option<usize>,
    /// The score above which a candidate is promising.
    pub above: Option<f32>,
    /// The least number of candidates that finish: by default two for `auto`, a quarter for `draft`.
    pub finish: Option<usize>,
}

impl Drafts {
    /// The same with another verifier, which scores after its own scale with its own threshold. An
    /// unset one changes nothing.
    pub fn with_verifier(self, verifier: Option<Verifier>) -> Self {
        match verifier {
            Some(verifier) if verifier != self.verifier => Self {
                verifier,
                finish: self.finish,
                ..Self::default()
            },
            _ => self,
        }
    }
}

/// The default score above which `auto` finishes a candidate at once.
const ABOVE: f32 = 0.5;

/// The default number of candidates that `draft` finishes, of `n`.
fn quarter(n: usize) -> usize {
    n.div_ceil(4)
}

/// The default number of candidates that `auto` finishes at least.
const FINISH: usize = 2;

/// The default score at which `auto` and `sequential` stop. ImageReward's scores have mean 0 and standard deviation
/// 1 on its training data, so this score is above that of about five in six of those images.
const ENOUGH: f32 = 1.0;

/// The stages of the released schedule of 13 scales (`bs_sis`, `extract_sis`, `resample_sis` in
/// `tts-var/`): the scale, the rows that reach and that leave the stage, in units of N.
const STAGES: [(usize, usize, usize); 4] = [(2, 8, 6), (5, 6, 4), (6, 4, 2), (9, 2, 1)];

/// The number of clustering stages in [`STAGES`]; the others resample.
const CLUSTERINGS: usize = 2;

/// Number of scales of the released schedule.
const SCALES: usize = 13;

impl Plan {
    /// One row, generated to the end.
    ///
    /// # Errors
    /// [`PlanError`] when there are no scales.
    pub fn raw(scales: usize) -> Result<Self, PlanError> {
        Self::best_of_n(scales, 1)
    }

    /// `n` rows, generated to the end; the best one wins.
    ///
    /// # Errors
    /// [`PlanError`] when there are no scales, or `n` is 0 or larger than any batch.
    pub fn best_of_n(scales: usize, n: usize) -> Result<Self, PlanError> {
        check(scales, n)?;
        Self::new(n, vec![])
    }

    /// `n` rows, generated to the end, one of which is drawn with weight `exp(lambda * score)`:
    /// importance sampling from the distribution tilted by the reward, a baseline of the paper.
    ///
    /// # Errors
    /// As for [`Plan::best_of_n`].
    pub fn importance(scales: usize, n: usize) -> Result<Self, PlanError> {
        check(scales, n)?;
        Self::new(n, vec![Stage::new(scales - 1, 1, by_value())])
    }

    /// `n` rows; after the scales at which [`Plan::tts_var`] resamples, the better half (rounded
    /// up) continues, repeated to `n` rows. At earlier scales the score of a partial image predicts
    /// little about the finished one.
    ///
    /// # Errors
    /// As for [`Plan::best_of_n`].
    pub fn beam(scales: usize, n: usize) -> Result<Self, PlanError> {
        check(scales, n)?;
        let places = places(scales, Schedule::Released)
            .into_iter()
            .skip(CLUSTERINGS);
        let select = Select::Top { k: n.div_ceil(2) };
        let stages = places.flatten().map(|scale| Stage::new(scale, n, select));
        Self::new(n, if n == 1 { vec![] } else { stages.collect() })
    }

    /// [`Plan::beam`] whose stages score images one scale ahead: each row is drawn one scale further
    /// for its score alone (lookahead of SoTo, arXiv 2604.15453).
    ///
    /// # Errors
    /// As for [`Plan::best_of_n`].
    pub fn lookahead(scales: usize, n: usize) -> Result<Self, PlanError> {
        let stages = Self::beam(scales, n)?.stages().to_vec();
        let stages = stages.into_iter().map(|stage| stage.looking(1));
        Self::new(n, stages.collect())
    }

    /// One row after the other, up to `n`, until one reaches the score `enough`: the rows of
    /// [`Plan::best_of_n`] in order, but no more of them than the prompt needs.
    ///
    /// # Errors
    /// As for [`Plan::best_of_n`].
    pub fn sequential(scales: usize, n: usize) -> Result<Self, PlanError> {
        check(scales, n)?;
        Self::new(1, vec![])?.until(n, ENOUGH)
    }

    /// [`Plan::sequential`] with drafts: each row is scored once while it is unfinished. Below a
    /// threshold it is suspended, and the search goes on with the next one. When all `n` rows have
    /// begun and none is good enough, suspended rows are resumed, best first, until two have
    /// finished.
    ///
    /// # Errors
    /// As for [`Plan::best_of_n`].
    pub fn auto(scales: usize, n: usize, drafts: Drafts) -> Result<Self, PlanError> {
        check(scales, n)?;
        let score = drafts.above.unwrap_or(ABOVE);
        let stage = draft_stage(scales, drafts, 1, Select::Above { score });
        let Some(stage) = stage.filter(|_| n > 1) else {
            return Self::sequential(scales, n);
        };
        Self::new(1, vec![stage])?
            .finishing(drafts.finish.unwrap_or(FINISH))?
            .until(n, ENOUGH)
    }

    /// `n` rows, scored once while they are unfinished; the best of them finish.
    ///
    /// # Errors
    /// As for [`Plan::best_of_n`], or none or more than `n` shall finish.
    pub fn draft(scales: usize, n: usize, drafts: Drafts) -> Result<Self, PlanError> {
        check(scales, n)?;
        let finish = drafts.finish.unwrap_or(quarter(n));
        let stage = draft_stage(scales, drafts, finish, Select::Top { k: finish });
        Self::new(n, stage.filter(|_| n > 1).into_iter().collect())
    }

    /// The paper's method: 8n rows, clustered to 6n and 4n, resampled to 2n and n, the best one
    /// wins.
    ///
    /// With 13 scales the stages act after scales 2, 5, 6 and 9. With fewer scales a stage moves
    /// forward only as far as needed to leave one scale after the last stage and to keep the stages
    /// at different scales: 2, 5, 6, 9 for 12 scales, 2, 5, 6, 8 for 10, 2, 3, 4, 5 for 7. A stage
    /// for which no scale is left is omitted, and the search starts with the rows of the next one.
    /// More than 13 scales stretch the schedule evenly.
    ///
    /// # Errors
    /// As for [`Plan::best_of_n`].
    pub fn tts_var(scales: usize, n: usize, schedule: Schedule) -> Result<Self, PlanError> {
        check(scales, n)?;
        let mut start = 1;
        let mut stages = vec![];
        let scales = places(scales, schedule);
        for (i, &(_, rows, width)) in STAGES.iter().enumerate() {
            let Some(scale) = scales[i] else { continue };
            if stages.is_empty() {
                start = rows;
            }
            let select = if i < CLUSTERINGS {
                Select::Cluster {
                    features: Features::Pca,
                }
            } else {
                by_value()
            };
            stages.push(Stage::new(scale, times(width, n), select));
        }
        Self::new(times(start, n), stages)
    }
}

/// The scale of each of [`STAGES`] in a model of `scales` scales, if one is left for it.
fn places(scales: usize, schedule: Schedule) -> [Option<usize>; STAGES.len()] {
    let mut places = [None; STAGES.len()];
    // The latest scale that the next stage, counted from the end, may take
    let mut free = scales.checked_sub(2);
    for (place, &(released, ..)) in places.iter_mut().zip(&STAGES).rev() {
        let wanted = if scales > SCALES {
            stretch(released, scales)
        } else {
            released
        };
        let taken = free.map(|free| free.min(wanted));
        free = taken.and_then(|scale| scale.checked_sub(1));
        *place = match schedule {
            Schedule::Released => taken,
            Schedule::Paper => free,
        };
    }
    places
}

/// The same relative place among more scales, to the nearest.
fn stretch(scale: usize, scales: usize) -> usize {
    (2 * scale * (scales - 1) + (SCALES - 1)) / (2 * (SCALES - 1))
}

/// The stage that scores drafts; none if no scale would be left to finish them.
fn draft_stage(scales: usize, drafts: Drafts, width: usize, select: Select) -> Option<Stage> {
    let last = scales.checked_sub(2)?;
    let two_thirds = (4 * (scales - 1) + 3) / 6; // to the nearest
    let scale = drafts.scale.unwrap_or(two_thirds).min(last);
    Some(Stage {
        scale,
        width,
        select,
        verifier: drafts.verifier,
        ahead: 0,
    })
}

fn by_value() -> Select {
    Select::Resample {
        potential: Potential::Value,
        lambda: LAMBDA,
        draw: Draw::Multinomial,
    }
}

fn check(scales: usize, n: usize) -> Result<(), PlanError> {
    if scales == 0 {
        return Err(PlanError::NoScales);
    }
    check_rows("N", n)
}

/// `rows` times N; an overflow becomes a width that [`Plan::new`] rejects.
fn times(rows: usize, n: usize) -> usize {
    rows.saturating_mul(n)
}
