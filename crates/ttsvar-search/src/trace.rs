//! The record of a search: every candidate with its scores, every choice, what it all cost. Command
//! line, report, page and Python read this one form; `docs/trace.md` describes its JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Error, Result,
    features::Features,
    mixer::{Part, Standardization},
    number,
    pipeline::Prompt,
    plan::{Plan, Select},
    warning::Warning,
};

/// The name and version of the schema. The number grows when a field changes its meaning or goes
/// away; new fields alone leave it.
pub const SCHEMA: &str = "ttsvar.trace/1";

/// A search, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of the program that searched.
    pub version: String,
    /// What was to be painted.
    pub prompt: String,
    /// What was to be avoided.
    pub negative: Option<String>,
    /// The seed of all draws.
    pub seed: u64,
    /// The plan that was followed, with the keys of a plan file.
    pub plan: Plan,
    /// What the generator was set to: names and values of the caller's choice.
    pub settings: Map<String, Value>,
    /// Shorter side in pixels of the images that stages read; none when they are full-size.
    pub preview: Option<usize>,
    /// Rows and columns of tokens at each scale, coarse to fine.
    pub scales: Vec<[usize; 2]>,
    /// Every candidate; `candidates[id]` has that id.
    pub candidates: Vec<Candidate>,
    /// Every choice, in order.
    pub stages: Vec<StageRecord>,
    /// Candidates that reached the end, in the order of the rows, with their final scores.
    pub finals: Vec<Final>,
    /// The id of the best of them: the highest score, the first row among equals.
    pub winner: usize,
    /// What the scores of several scorers were brought from before they were mixed; empty where one
    /// scorer judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<Standardization>,
    /// What each of several scorers said, scoring by scoring; empty where one scorer judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Everything odd, in order. Those of a stage stand there too.
    pub warnings: Vec<Warning>,
    /// What it cost.
    pub cost: Cost,
}

impl Trace {
    /// A record in which nothing has happened yet.
    pub(super) fn new(prompt: &Prompt, plan: &Plan, seed: u64) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            prompt: prompt.text.clone(),
            negative: prompt.negative.clone(),
            seed,
            plan: plan.clone(),
            settings: Map::new(),
            preview: None,
            scales: vec![],
            candidates: vec![],
            stages: vec![],
            finals: vec![],
            winner: 0,
            scorers: vec![],
            parts: vec![],
            warnings: vec![],
            cost: Cost::default(),
        }
    }

    /// The record as JSON, indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a trace holds nothing that JSON cannot say")
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Error::Input`] when the text is no trace, or one of another schema.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let fail = |error: serde_json::Error| Error::input(format!("not a search trace: {error}"));
        let Head { schema } = serde_json::from_str(text).map_err(fail)?;
        if schema != SCHEMA {
            return Err(Error::input(format!(
                "a trace of schema `{schema}`, but this program reads `{SCHEMA}`"
            ))
            .with_hint("read it with the version of the program that wrote it"));
        }
        serde_json::from_str(text).map_err(fail)
    }

    /// What each of several scorers said last of a candidate or of the one that it continues: its
    /// name and its number.
    pub fn parts_of(&self, id: usize) -> Vec<(&str, f32)> {
        let said = |standard: &Standardization| {
            let own = self
                .parts
                .iter()
                .rev()
                .filter(|part| part.scorer == standard.scorer);
            let of = |candidate: &Candidate| {
                own.clone().find_map(|part| {
                    let place = part.ids.iter().position(|scored| *scored == candidate.id)?;
                    part.scores.get(place).copied()
                })
            };
            self.lineage(id).find_map(of)
        };
        self.scorers
            .iter()
            .filter_map(|one| Some((one.scorer.as_str(), said(one)?)))
            .collect()
    }

    /// The candidate of an id and its ancestors, youngest first.
    pub fn lineage(&self, id: usize) -> impl Iterator<Item = &Candidate> {
        std::iter::successors(self.candidates.get(id), |candidate| {
            self.candidates.get(candidate.parent?)
        })
    }
}

/// One path through the scales between two choices. A choice ends every candidate: it falls, or
/// others continue it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name: candidates are numbered in the order in which they appear.
    pub id: usize,
    /// Whom it continues; none at the start.
    pub parent: Option<usize>,
    /// The first scale that it draws. The number of scales when it was chosen after the last one.
    pub scale: usize,
    /// Its row in the batch.
    pub row: usize,
    /// The scores of its lineage, oldest first: those of its ancestors, then its own.
    pub history: Vec<Scored>,
}

/// A score and when it was earned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The scale after which the image was decoded.
    pub scale: usize,
    /// The scorer's number.
    #[serde(with = "number")]
    pub score: f32,
}

/// What a stage saw and did. Lists run over the rows that came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The scale after which it acted.
    pub scale: usize,
    /// The stage's `select` in words.
    pub select: String,
    /// The candidates that came.
    pub ids: Vec<usize>,
    /// Scores of their images, where the stage reads scores.
    #[serde(default, with = "number::list", skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f32>,
    /// Probability of each row in a single draw, where the stage draws. They sum to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// The features that the stage reads, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// The cluster of each row, where the stage clusters; none for rows left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Option<usize>>,
    /// The rows that went on, in their new order; a row may stand here more than once.
    pub kept: Vec<usize>,
    /// The candidates that continue them.
    pub children: Vec<usize>,
    /// What was odd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl StageRecord {
    /// A stage that has seen the candidates `ids` and not yet chosen.
    pub(super) fn new(scale: usize, select: &Select, ids: Vec<usize>) -> Self {
        Self {
            scale,
            select: select.to_string(),
            ids,
            scores: vec![],
            weights: vec![],
            features: select.features(),
            clusters: vec![],
            kept: vec![],
            children: vec![],
            warnings: vec![],
        }
    }
}

/// A finished candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Final {
    /// The candidate.
    pub id: usize,
    /// Its final score.
    #[serde(with = "number")]
    pub score: f32,
}

/// What a search cost, counted four ways: images, operations, decodes with their readings, seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Images brought to the last scale.
    pub images: usize,
    /// Floating-point operations.
    pub flops: Flops,
    /// Images decoded.
    pub decodes: usize,
    /// Images scored, once for each scorer.
    pub scorings: usize,
    /// Images described by features.
    pub extractions: usize,
    /// Rows computed at each scale.
    pub rows: Vec<usize>,
    /// Distinct states that the network was run on at each scale.
    pub states: Vec<usize>,
    /// Seconds of wall time.
    pub seconds: Seconds,
}

/// Floating-point operations, 2 for each multiply-add; 0 where nobody counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flops {
    /// Text encoder, transformer and decoder.
    pub generator: f64,
    /// The scorer.
    pub scorer: f64,
    /// The features.
    pub features: f64,
}

impl Flops {
    /// All together.
    pub fn total(self) -> f64 {
        self.generator + self.scorer + self.features
    }
}

/// Seconds of wall time, by phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Reading the prompt and getting ready.
    pub text: f64,
    /// The transformer at each scale.
    pub transformer: Vec<f64>,
    /// Decoding images.
    pub decode: f64,
    /// Describing images by features.
    pub features: f64,
    /// Scoring images.
    pub scorer: f64,
    /// Choosing rows and rearranging the batch.
    pub selection: f64,
    /// From the first event to the last, listeners included.
    pub total: f64,
}
