//! The record of a search: every candidate with its scores, every choice, and the cost. Command
//! line, report, page and Python all read this form; `docs/trace.md` describes its JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Answers, Error, Result,
    features::Features,
    mixer::{Part, Standardization},
    number,
    pipeline::Prompt,
    plan::{Plan, Stage},
    steering::Steering,
    tokens::TokenStatistics,
    top,
    verifier::Verifier,
    warning::Warning,
};

/// The name and version of the schema. The version increases when a field is removed or changes its
/// meaning, not when a field is added.
pub const SCHEMA: &str = "ttsvar.trace/1";

/// The record of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of the program that ran the search.
    pub version: String,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: Option<String>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The plan of the search, with the keys of a plan file.
    pub plan: Plan,
    /// Settings of the generator, under names that the caller chooses.
    pub settings: Map<String, Value>,
    /// Shorter side in pixels of the images that stages use; none if they are full-size.
    pub preview: Option<usize>,
    /// Rows and columns of tokens at each scale, coarse to fine.
    pub scales: Vec<[usize; 2]>,
    /// How candidates were steered; none if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steering: Option<Steering>,
    /// Every candidate; `candidates[id]` has that id.
    pub candidates: Vec<Candidate>,
    /// Every choice, in order.
    pub stages: Vec<StageRecord>,
    /// Candidates that reached the end, in the order of the rows, with their final scores.
    pub finals: Vec<Final>,
    /// The id of the best of them: the highest score, the first row among equals.
    pub winner: usize,
    /// The standardization of each of several scorers; empty if there is only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<Standardization>,
    /// The scores of each of several scorers, in the order of the scorings; empty if there is only
    /// one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The scores of the finished candidates by scorers that the search did not use, as the caller
    /// adds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<Part>,
    /// The answers of scorers that are asked questions, in the order of the scorings; empty if none
    /// is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answers>,
    /// All warnings, in order. Those of a stage are recorded there too.
    pub warnings: Vec<Warning>,
    /// The cost.
    pub cost: Cost,
}

impl Trace {
    /// The record of a search that has not begun.
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
            steering: None,
            candidates: vec![],
            stages: vec![],
            finals: vec![],
            winner: 0,
            scorers: vec![],
            parts: vec![],
            held_out: vec![],
            answers: vec![],
            warnings: vec![],
            cost: Cost::default(),
        }
    }

    /// The record as JSON, indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a trace can always be written as JSON")
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Error::Input`] when the text is not a trace, has another schema, or contradicts itself:
    /// see [`Trace::check`].
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
        let trace: Self = serde_json::from_str(text).map_err(fail)?;
        trace.check()?;
        Ok(trace)
    }

    /// What the stage after a scale did in all rounds together; none if no candidate reached one.
    pub fn selection(&self, scale: usize) -> Option<Selection<'_>> {
        let here = self.stages.iter().filter(|stage| stage.scale == scale);
        let rounds: Vec<&StageRecord> = here.clone().filter(|stage| !stage.resumes).collect();
        Some(Selection {
            select: &rounds.first()?.select,
            reached: rounds.iter().map(|stage| stage.ids.len()).sum(),
            continuing: here.map(|stage| stage.kept.len()).sum(),
            scores: rounds
                .iter()
                .flat_map(|stage| stage.scores.iter().copied())
                .collect(),
        })
    }

    /// The places of the finished candidates in `finals`, best first. The first is the winner.
    pub fn ranking(&self) -> Vec<usize> {
        let scores: Vec<f32> = self.finals.iter().map(|last| last.score).collect();
        top::ranking(&scores)
    }

    /// The same record as that of another finished candidate, as if it were the winner.
    pub fn of_finished(&self, id: usize) -> Self {
        Self {
            winner: id,
            ..self.clone()
        }
    }

    /// The name of each of several scorers with its latest score of a candidate or its nearest
    /// scored ancestor.
    pub fn parts_of(&self, id: usize) -> Vec<(&str, f32)> {
        let mut parts = vec![];
        for Standardization { scorer, .. } in &self.scorers {
            let mut lineage = self.lineage(id);
            if let Some(score) = lineage.find_map(|candidate| self.part(scorer, candidate.id)) {
                parts.push((scorer.as_str(), score));
            }
        }
        parts
    }

    /// The latest score of a candidate by one of several scorers.
    fn part(&self, scorer: &str, id: usize) -> Option<f32> {
        let mut parts = self.parts.iter().rev().filter(|part| part.scorer == scorer);
        parts.find_map(|part| {
            let place = part.ids.iter().position(|scored| *scored == id)?;
            part.scores.get(place).copied()
        })
    }

    /// The candidate with this id and its ancestors, latest first. A parent that does not come
    /// before its child is ignored, so that the lineage ends whatever a trace contains.
    pub fn lineage(&self, id: usize) -> impl Iterator<Item = &Candidate> {
        let parent = |&id: &usize| {
            self.candidates
                .get(id)?
                .parent
                .filter(|&parent| parent < id)
        };
        std::iter::successors(Some(id), parent).map_while(|id| self.candidates.get(id))
    }
}

/// The selection after a scale, in all rounds of a search together.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection<'a> {
    /// The stage's `select` as text.
    pub select: &'a str,
    /// Candidates that reached it.
    pub reached: usize,
    /// Candidates that continue, at once or resumed later.
    pub continuing: usize,
    /// The scores of those that reached it, if the stage uses scores.
    pub scores: Vec<f32>,
}

/// One path through the scales between two choices. A choice ends every candidate: it is dropped,
/// or new candidates continue it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its number, in the order in which candidates appear.
    pub id: usize,
    /// The candidate that it continues; none at the start.
    pub parent: Option<usize>,
    /// The first scale that it draws; the number of scales if it was chosen after the last one.
    pub scale: usize,
    /// Its row in the batch.
    pub row: usize,
    /// Its layout, as an index into the layouts of the steering; none if it is not steered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<usize>,
    /// The scores of its lineage, oldest first.
    pub history: Vec<Scored>,
    /// Statistics of the tokens that it drew itself, coarse to fine; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenStatistics>,
}

/// A score and its scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The scale after which the image was decoded.
    pub scale: usize,
    /// The score.
    #[serde(with = "number")]
    pub score: f32,
}

/// The record of a stage. Lists have one entry per row that reached the stage, where nothing else
/// is noted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The scale after which the stage acted.
    pub scale: usize,
    /// The stage's `select` as text.
    pub select: String,
    /// The candidates that reached the stage.
    pub ids: Vec<usize>,
    /// What was scored, if the stage uses scores.
    #[serde(default, skip_serializing_if = "Verifier::is_image")]
    pub verifier: Verifier,
    /// Their scores, if the stage uses scores.
    #[serde(default, with = "number::list", skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f32>,
    /// The probability of each row in a single draw, if the stage draws. They sum to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<f64>,
    /// The features that the stage uses, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// The cluster of each row, if the stage clusters; none for rows whose features are not finite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Option<usize>>,
    /// Whether the stage takes up candidates that an earlier one suspended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumes: bool,
    /// The rows that continue, in their new order; a row may appear more than once. Empty if all
    /// are suspended.
    pub kept: Vec<usize>,
    /// The candidates that continue them.
    pub children: Vec<usize>,
    /// The warnings of the stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

impl StageRecord {
    /// The record of a stage that the candidates `ids` reached, before it chooses.
    pub(super) fn new(stage: &Stage, ids: Vec<usize>) -> Self {
        Self {
            scale: stage.scale,
            select: stage.description(),
            ids,
            verifier: stage.verifier,
            scores: vec![],
            weights: vec![],
            features: stage.select.features(),
            clusters: vec![],
            resumes: false,
            kept: vec![],
            children: vec![],
            warnings: vec![],
        }
    }

    /// The record of a suspended candidate that is resumed as `child`.
    pub(super) fn resume(scale: usize, id: usize, score: f32, child: usize) -> Self {
        Self {
            scale,
            select: "resume".to_owned(),
            ids: vec![id],
            verifier: Verifier::default(),
            scores: vec![score],
            weights: vec![],
            features: None,
            clusters: vec![],
            resumes: true,
            kept: vec![0],
            children: vec![child],
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

/// The cost of a search: finished images, operations, decodes and their scorings, seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Images generated to the last scale.
    pub images: usize,
    /// Floating-point operations.
    pub flops: Flops,
    /// Images that the search itself decoded: for its stages, and finished ones.
    pub decodes: usize,
    /// Images decoded only because a listener asked for them. Their operations and seconds are
    /// apart, too: no total contains them.
    #[serde(default)]
    pub previews: usize,
    /// Images scored, once for each scorer.
    pub scorings: usize,
    /// Candidates scored by their latents.
    #[serde(default)]
    pub verifications: usize,
    /// Images whose features were computed.
    pub extractions: usize,
    /// Rows computed at each scale.
    pub rows: Vec<usize>,
    /// Distinct states that the network was run on at each scale.
    pub states: Vec<usize>,
    /// Passes of the network at each scale: one per state and branch of guidance that ran.
    #[serde(default)]
    pub passes: Vec<usize>,
    /// Seconds of wall time.
    pub seconds: Seconds,
}

/// Floating-point operations, 2 for each multiply-add; 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flops {
    /// Text encoder, transformer and decoder.
    pub generator: f64,
    /// All scorers.
    pub scorer: f64,
    /// The latent verifier.
    #[serde(default)]
    pub verifier: f64,
    /// The features.
    pub features: f64,
    /// Decoding previews for a listener.
    #[serde(default)]
    pub previews: f64,
}

impl Flops {
    /// The operations of the search: the sum of all parts but the previews.
    pub fn total(self) -> f64 {
        self.generator + self.scorer + self.verifier + self.features
    }
}

/// Seconds of wall time, by phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Encoding the prompt and preparing the rows.
    pub text: f64,
    /// The transformer at each scale.
    pub transformer: Vec<f64>,
    /// Decoding images.
    pub decode: f64,
    /// Computing features.
    pub features: f64,
    /// Scoring images.
    pub scorer: f64,
    /// Scoring latents.
    #[serde(default)]
    pub verifier: f64,
    /// Choosing rows and rearranging the batch.
    pub selection: f64,
    /// Decoding previews for a listener, and handing it the images that it asked for.
    #[serde(default)]
    pub previews: f64,
    /// From the first event to the last, listeners included, previews excluded.
    pub total: f64,
}
