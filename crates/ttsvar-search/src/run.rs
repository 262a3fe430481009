//! The search loop, through which every method runs.
//!
//! [`run`] draws one scale after the other for all candidates. Where the plan has a stage, it
//! decodes the partial images and chooses, by their scores or features, the candidates that
//! continue. After the last scale it scores the finished images, and the best one wins.
//! `SearchState` holds everything that changes on the way; each of its methods is one step.
//!
//! Read on where a step leads: `plan.rs` for the methods as data, `diverse.rs`, `resample.rs` and
//! `top.rs` for the ways to choose, `pipeline.rs` for the interface to a generator (implemented in
//! `src/pipelines/infinity/` of the main crate), `trace.rs` for the record.

use std::time::Instant;

use crate::{
    Error, Image, Result,
    diverse::diverse,
    event::{CandidateOutcome, Event, Listener},
    features::{Features, Matrix},
    mixer::{Part, ScoreMixer},
    pipeline::{DecodeSize, Prompt, Rollout},
    plan::{Plan, Select, Stage},
    potential::Potential,
    resample,
    rng::Stream,
    search::{Search, check_count},
    top,
    trace::{Candidate, Final, Scored, StageRecord, Trace},
    warning::Warning,
};

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every candidate that reached the end, in the order of the trace's `finals`.
    pub finished: Vec<Finished>,
    /// The index of the winner in `finished`.
    pub best: usize,
    /// The record of the search.
    pub trace: Trace,
}

impl Outcome {
    /// The winner.
    pub fn winner(&self) -> &Finished {
        &self.finished[self.best]
    }
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The candidate that it belongs to.
    pub id: usize,
    /// The image at full size.
    pub image: Image,
    /// Its final score.
    pub score: f32,
}

/// Searches for the best image of a prompt. The same arguments give the same outcome, except for
/// the measured times.
///
/// # Errors
/// [`Error::Input`] when the plan does not fit the model; otherwise any error of the pipeline, a
/// scorer, the features or the listener.
pub fn run(
    search: &Search,
    prompt: &Prompt,
    plan: &Plan,
    seed: u64,
    listener: &mut dyn Listener,
) -> Result<Outcome> {
    let mut state = SearchState::begin(search, prompt, plan, seed, listener)?;
    for round in 0..plan.rounds() {
        state.start_round(round)?;
        for scale in 0..search.pipeline.scales().len() {
            state.step(scale)?;
            state.decode(scale)?;
            if let Some(stage) = plan.stage(scale) {
                state.choose(stage)?;
            }
        }
        let enough = state.finish_round()?;
        if enough {
            break;
        }
    }
    state.finish()
}

/// A search in progress.
struct SearchState<'a> {
    search: &'a Search<'a>,
    prompt: &'a Prompt,
    seed: u64,
    listener: &'a mut dyn Listener,
    /// The rows of this round; none before the first.
    rollout: Option<Box<dyn Rollout + 'a>>,
    round: usize,
    /// The candidate of each row.
    alive: Vec<usize>,
    /// The images of the rows after this scale; empty where they are not decoded.
    images: Vec<Image>,
    /// The scores of these images, once they are scored.
    scores: Option<Vec<f32>>,
    /// Combines the scores of several scorers.
    mixer: ScoreMixer,
    /// The finished images of all rounds so far.
    finished: Vec<Finished>,
    trace: Trace,
    began: Instant,
}

impl<'a> SearchState<'a> {
    /// Checks the plan and reports the start of the search.
    fn begin(
        search: &'a Search<'a>,
        prompt: &'a Prompt,
        plan: &'a Plan,
        seed: u64,
        listener: &'a mut dyn Listener,
    ) -> Result<Self> {
        search.check(plan)?;
        let began = Instant::now();
        let scales = search.pipeline.scales();
        let widths = plan.widths(scales.len());
        listener.on(&Event::Started {
            prompt,
            plan,
            scales,
            widths: &widths,
            seed,
        })?;
        let mut state = Self {
            search,
            prompt,
            seed,
            listener,
            rollout: None,
            round: 0,
            alive: vec![],
            images: vec![],
            scores: None,
            mixer: ScoreMixer::new(&search.scorers),
            finished: vec![],
            trace: new_trace(search, prompt, plan, seed),
            began,
        };
        for warning in search.prompt_warnings(prompt)? {
            state.warn(warning)?;
        }
        Ok(state)
    }

    /// Begins a round with new rows.
    fn start_round(&mut self, round: usize) -> Result<()> {
        let search = self.search;
        let width = self.trace.plan.start();
        let rows = round * width..(round + 1) * width;
        let rollout = timed(&mut self.trace.cost.seconds.text, || {
            search.pipeline.begin(self.prompt, rows, self.seed)
        })?;
        self.rollout = Some(rollout);
        self.round = round;
        self.alive = (0..width).map(|row| self.add(None, 0, row)).collect();
        Ok(())
    }

    /// The rows of this round.
    fn rollout(&mut self) -> Result<&mut (dyn Rollout + 'a)> {
        self.rollout
            .as_deref_mut()
            .ok_or_else(|| Error::internal("no round of the search has begun"))
    }

    /// The stream with which rows are chosen after a scale of this round.
    fn stream(&self, scale: usize) -> Stream {
        Stream::select(self.seed, self.round, scale)
    }

    /// Adds a candidate that continues `parent`; returns its id.
    fn add(&mut self, parent: Option<usize>, scale: usize, row: usize) -> usize {
        let id = self.trace.candidates.len();
        let history = match parent {
            Some(parent) => self.trace.candidates[parent].history.clone(),
            None => vec![],
        };
        self.trace.candidates.push(Candidate {
            id,
            parent,
            scale,
            row,
            history,
        });
        id
    }

    /// Draws the next scale of every row.
    fn step(&mut self, scale: usize) -> Result<()> {
        let grid = self.search.pipeline.scales()[scale];
        self.images.clear();
        self.scores = None;
        self.listener.on(&Event::ScaleBegun {
            scale,
            ids: &self.alive,
            grid,
        })?;
        let mut seconds = 0.0;
        let rollout = self.rollout()?;
        let states = timed(&mut seconds, || rollout.step())?;
        let rows = self.alive.len();
        let cost = &mut self.trace.cost;
        cost.rows[scale] += rows;
        cost.states[scale] += states;
        cost.seconds.transformer[scale] += seconds;
        self.listener.on(&Event::ScaleDone {
            scale,
            rows,
            states,
            seconds,
        })
    }

    /// Decodes all rows if a stage or the listener needs their images, and after the last scale.
    fn decode(&mut self, scale: usize) -> Result<()> {
        let last = scale + 1 == self.search.pipeline.scales().len();
        let needed = last || self.trace.plan.looks(scale);
        let watched = self.listener.wants_images(scale);
        if !needed && !watched {
            return Ok(());
        }
        let size = if last {
            DecodeSize::Full
        } else {
            self.search.preview
        };
        let rows: Vec<usize> = (0..self.alive.len()).collect();
        let mut seconds = 0.0;
        let rollout = self.rollout()?;
        let flops = rollout.flops();
        let images = timed(&mut seconds, || rollout.images(&rows, size))?;
        let flops = rollout.flops() - flops;
        check_count("decoder", "images", images.len(), rows.len())?;
        self.images = images;
        let cost = &mut self.trace.cost;
        if needed {
            cost.decodes += rows.len();
            cost.seconds.decode += seconds;
        } else {
            cost.previews += rows.len();
            cost.flops.previews += flops;
            cost.seconds.previews += seconds;
        }
        let decoded = Event::Decoded {
            scale,
            ids: &self.alive,
            images: &self.images,
        };
        if watched {
            return timed(&mut cost.seconds.previews, || self.listener.on(&decoded));
        }
        self.listener.on(&decoded)
    }

    /// Lets a stage choose the rows that continue.
    fn choose(&mut self, stage: &Stage) -> Result<()> {
        let Stage {
            scale,
            width,
            select,
        } = *stage;
        let mut record = StageRecord::new(scale, &select, self.alive.clone());
        let warned = self.trace.warnings.len();
        record.kept = match select {
            Select::Cluster { features } => self.cluster(scale, width, features, &mut record)?,
            Select::Resample {
                potential,
                lambda,
                draw,
            } => {
                record.scores = self.score(scale)?;
                record.weights = self.weigh(scale, potential, lambda)?;
                resample::draw(&record.weights, width, draw, &mut self.stream(scale))
            }
            Select::Top { k } => {
                record.scores = self.score(scale)?;
                top::top(&record.scores, k, width)
            }
            Select::Drop => resample::without(self.alive.len(), width, &mut self.stream(scale)),
        };
        record.warnings = self.trace.warnings[warned..].to_vec();
        self.advance(record)
    }

    /// One row from each cluster of features.
    fn cluster(
        &mut self,
        scale: usize,
        width: usize,
        kind: Features,
        record: &mut StageRecord,
    ) -> Result<Vec<usize>> {
        let features = self.extract(kind)?;
        let mut stream = self.stream(scale);
        let found = timed(&mut self.trace.cost.seconds.selection, || {
            Ok(diverse(&features, width, &mut stream))
        })?;
        self.warn_rows(&found.lost, |ids| Warning::LostFeatures { scale, ids })?;
        if found.distinct < width {
            self.warn(Warning::FewDistinct {
                scale,
                distinct: found.distinct,
                clusters: width,
            })?;
        }
        record.clusters = found.clusters;
        Ok(found.rows)
    }

    /// The features of the images of this scale.
    fn extract(&mut self, kind: Features) -> Result<Matrix> {
        let extractor = &self.search.extractors[&kind];
        let images = self.images.len();
        let cost = &mut self.trace.cost;
        let features = timed(&mut cost.seconds.features, || {
            extractor.extract(&self.images)
        })?;
        check_count("feature extractor", "rows", features.rows(), images)?;
        cost.extractions += images;
        cost.flops.features += extractor.flops(images);
        Ok(features)
    }

    /// Scores the images of this scale and adds the scores to the histories.
    fn score(&mut self, scale: usize) -> Result<Vec<f32>> {
        let images = self.images.len();
        let cost = &mut self.trace.cost;
        let parts = timed(&mut cost.seconds.scorer, || {
            self.search.scores(&self.prompt.text, &self.images)
        })?;
        cost.scorings += parts.len() * images;
        cost.flops.scorer += self.search.scoring_flops(images);
        let scores = self.mixer.mix(scale, &parts);
        if parts.len() > 1 {
            for (weighted, scores) in self.search.scorers.iter().zip(parts) {
                self.trace.parts.push(Part {
                    scorer: weighted.name.to_owned(),
                    scale,
                    ids: self.alive.clone(),
                    scores,
                });
            }
        }
        for (&id, &score) in self.alive.iter().zip(&scores) {
            let history = &mut self.trace.candidates[id].history;
            history.push(Scored { scale, score });
        }
        self.listener.on(&Event::Scored {
            scale,
            ids: &self.alive,
            scores: &scores,
        })?;
        self.warn_scores(scale, &scores)?;
        self.scores = Some(scores.clone());
        Ok(scores)
    }

    /// Warns of scores that are not finite.
    fn warn_scores(&mut self, scale: usize, scores: &[f32]) -> Result<()> {
        let mut lost = vec![];
        let mut infinite = vec![];
        for (row, &score) in scores.iter().enumerate() {
            if score == f32::INFINITY {
                infinite.push(row);
            } else if !score.is_finite() {
                lost.push(row);
            }
        }
        self.warn_rows(&lost, |ids| Warning::LostScores { scale, ids })?;
        self.warn_rows(&infinite, |ids| Warning::InfiniteScores { scale, ids })
    }

    /// The probability of each row in a draw.
    fn weigh(&mut self, scale: usize, potential: Potential, lambda: f64) -> Result<Vec<f64>> {
        let mut potentials = Vec::with_capacity(self.alive.len());
        for &id in &self.alive {
            let history = &self.trace.candidates[id].history;
            let scores: Vec<f32> = history.iter().map(|scored| scored.score).collect();
            potentials.push(potential.apply(&scores));
        }
        let weights = resample::weights(&potentials, lambda);
        self.warn_rows(&weights.infinite, |ids| Warning::InfiniteScores {
            scale,
            ids,
        })?;
        if weights.none {
            self.warn(Warning::AllWeightsZero { scale })?;
        }
        Ok(weights.probabilities)
    }

    /// Replaces the batch by the chosen rows and records the choice.
    fn advance(&mut self, mut record: StageRecord) -> Result<()> {
        let kept = record.kept.clone();
        let mut seconds = 0.0;
        let rollout = self.rollout()?;
        timed(&mut seconds, || rollout.gather(&kept))?;
        self.trace.cost.seconds.selection += seconds;
        let parents = std::mem::take(&mut self.alive);
        for (row, &from) in kept.iter().enumerate() {
            let child = self.add(Some(parents[from]), record.scale + 1, row);
            self.alive.push(child);
        }
        if record.scale + 1 == self.trace.scales.len() {
            // Nothing is decoded or scored again: children take over images and scores.
            self.images = kept.iter().map(|&row| self.images[row].clone()).collect();
            if let Some(scores) = &mut self.scores {
                *scores = kept.iter().map(|&row| scores[row]).collect();
            }
        }
        record.children = self.alive.clone();
        self.listener.on(&Event::Selected {
            scale: record.scale,
            fates: &outcomes(&record),
            choice: &record,
        })?;
        self.trace.stages.push(record);
        Ok(())
    }

    /// Scores the remaining rows of a round, unless they are scored already. Returns whether a
    /// score is high enough to end the search.
    fn finish_round(&mut self) -> Result<bool> {
        let last = self.search.pipeline.scales().len().saturating_sub(1);
        let scores = match self.scores.take() {
            Some(scores) => scores,
            None => self.score(last)?,
        };
        for ((&id, &score), image) in self.alive.iter().zip(&scores).zip(self.images.drain(..)) {
            self.trace.finals.push(Final { id, score });
            self.finished.push(Finished { id, image, score });
        }
        self.trace.cost.flops.generator += self.rollout()?.flops();
        match self.trace.plan.enough() {
            Some(enough) => Ok(scores.iter().any(|score| *score >= enough)),
            None => Ok(false),
        }
    }

    /// Determines the winner and completes the trace.
    fn finish(mut self) -> Result<Outcome> {
        let scores: Vec<f32> = self.finished.iter().map(|image| image.score).collect();
        let best = top::ranking(&scores)[0];
        self.trace.winner = self.finished[best].id;
        if self.search.scorers.len() > 1 {
            self.trace.scorers = self.mixer.standards().to_vec();
        }
        let cost = &mut self.trace.cost;
        cost.images = cost.rows.last().copied().unwrap_or(0);
        cost.flops.generator -= cost.flops.previews;
        cost.seconds.total = self.began.elapsed().as_secs_f64() - cost.seconds.previews;
        self.listener.on(&Event::Finished {
            trace: &self.trace,
            image: &self.finished[best].image,
        })?;
        Ok(Outcome {
            finished: self.finished,
            best,
            trace: self.trace,
        })
    }

    /// Warns of the candidates in `rows`, unless there are none.
    fn warn_rows(
        &mut self,
        rows: &[usize],
        warning: impl FnOnce(Vec<usize>) -> Warning,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.warn(warning(rows.iter().map(|&row| self.alive[row]).collect()))
    }

    /// Reports and records a warning, unless the trace already has it.
    fn warn(&mut self, warning: Warning) -> Result<()> {
        if self.trace.warnings.contains(&warning) {
            return Ok(());
        }
        self.listener.on(&Event::Warned(&warning))?;
        self.trace.warnings.push(warning);
        Ok(())
    }
}

/// The trace of a search at its start.
fn new_trace(search: &Search, prompt: &Prompt, plan: &Plan, seed: u64) -> Trace {
    let scales = search.pipeline.scales();
    let mut trace = Trace::new(prompt, plan, seed);
    trace.settings = search.settings.clone();
    trace.scales = scales.iter().map(|scale| scale.grid()).collect();
    trace.preview = match search.preview {
        DecodeSize::Full => None,
        DecodeSize::Preview(pixels) => Some(pixels),
    };
    trace.cost.rows = vec![0; scales.len()];
    trace.cost.states = vec![0; scales.len()];
    trace.cost.seconds.transformer = vec![0.0; scales.len()];
    trace
}

/// The outcome of a stage for each candidate that reached it.
fn outcomes(record: &StageRecord) -> Vec<CandidateOutcome> {
    let mut outcomes = vec![];
    for &id in &record.ids {
        let children = vec![];
        outcomes.push(CandidateOutcome { id, children });
    }
    for (&row, &child) in record.kept.iter().zip(&record.children) {
        outcomes[row].children.push(child);
    }
    outcomes
}

/// Does `work` and adds the seconds that it took.
fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let result = work();
    *seconds += began.elapsed().as_secs_f64();
    result
}
