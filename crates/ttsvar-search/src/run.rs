//! The loop. Every method runs through it, so that methods are compared fairly; everything else in
//! the project feeds it or shows what it did.

use std::time::Instant;

use crate::{
    Error, Image, Result,
    diverse::diverse,
    event::{CandidateOutcome, Event, Listener},
    features::{Features, Matrix},
    mixer::{Part, ScoreMixer, WeightedScorer},
    pipeline::{DecodeSize, Prompt, Rollout},
    plan::{Draw, Plan, Select, Stage},
    potential::Potential,
    resample,
    rng::Stream,
    search::{Search, count},
    top,
    trace::{Candidate, Final, Scored, StageRecord, Trace},
    warning::Warning,
};

/// What a search found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every candidate that reached the end, in the order of the trace's `finals`.
    pub finished: Vec<Finished>,
    /// The place of the winner in `finished`.
    pub best: usize,
    /// How it came about.
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
    /// The candidate that it is of.
    pub id: usize,
    /// Full size.
    pub image: Image,
    /// The scorer's number.
    pub score: f32,
}

/// Searches for the best image of a prompt. The same arguments give the same outcome, times apart.
///
/// # Errors
/// [`Error::Input`] when the plan does not fit the model; whatever pipeline, scorer, features or
/// listener fail with.
pub fn run(
    search: &Search,
    prompt: &Prompt,
    plan: &Plan,
    seed: u64,
    listener: &mut dyn Listener,
) -> Result<Outcome> {
    let mut state = SearchState::begin(search, prompt, plan, seed, listener)?;
    for round in 0..plan.rounds() {
        state.start(round)?;
        for scale in 0..search.pipeline.scales().len() {
            state.step(scale)?;
            state.look(scale)?;
            if let Some(stage) = plan.stage(scale) {
                state.choose(stage)?;
            }
        }
        if state.settle()? {
            break;
        }
    }
    state.finish()
}

/// A search on its way.
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
    /// The images of the rows after this scale; empty where nobody looks.
    images: Vec<Image>,
    /// Their scores, once somebody asked.
    scores: Option<Vec<f32>>,
    /// The scorers as one.
    blend: ScoreMixer,
    /// What the rounds so far brought to the end.
    finished: Vec<Finished>,
    trace: Trace,
    began: Instant,
}

impl<'a> SearchState<'a> {
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
        let mut trace = Trace::new(prompt, plan, seed);
        trace.settings = search.settings.clone();
        trace.scales = scales
            .iter()
            .map(|scale| [scale.height, scale.width])
            .collect();
        if let DecodeSize::Preview(pixels) = search.preview {
            trace.preview = Some(pixels);
        }
        let cost = &mut trace.cost;
        (cost.rows, cost.states) = (vec![0; scales.len()], vec![0; scales.len()]);
        cost.seconds.transformer = vec![0.0; scales.len()];
        let (alive, images, finished) = (vec![], vec![], vec![]);
        let (rollout, scores, round) = (None, None, 0);
        let blend = ScoreMixer::new(&search.scorers);
        let state = Self {
            search,
            prompt,
            seed,
            listener,
            rollout,
            round,
            alive,
            images,
            scores,
            blend,
            finished,
            trace,
            began,
        };
        Ok(state)
    }

    /// Begins a round with rows of its own.
    fn start(&mut self, round: usize) -> Result<()> {
        let width = self.trace.plan.start();
        let (search, prompt, seed) = (self.search, self.prompt, self.seed);
        let rows = round * width..(round + 1) * width;
        let begin = || search.pipeline.begin(prompt, rows, seed);
        self.rollout = Some(timed(&mut self.trace.cost.seconds.text, begin)?);
        self.round = round;
        self.alive = (0..width).map(|row| self.add(None, 0, row)).collect();
        Ok(())
    }

    /// The rows of this round.
    fn rollout(&mut self) -> Result<&mut (dyn Rollout + 'a)> {
        self.rollout
            .as_deref_mut()
            .ok_or_else(|| Error::internal("a search without rows"))
    }

    /// The stream with which rows are chosen after a scale of this round.
    fn stream(&self, scale: usize) -> Stream {
        Stream::select(self.seed, self.round, scale)
    }

    /// A new candidate that continues `parent`; returns its id.
    fn add(&mut self, parent: Option<usize>, scale: usize, row: usize) -> usize {
        let id = self.trace.candidates.len();
        let history = parent.map_or_else(Vec::new, |parent| {
            self.trace.candidates[parent].history.clone()
        });
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

    /// Decodes all rows where a stage, the listener or the end wants to see them.
    fn look(&mut self, scale: usize) -> Result<()> {
        let last = scale + 1 == self.search.pipeline.scales().len();
        if !last && !self.trace.plan.looks(scale) && !self.listener.wants_images(scale) {
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
        self.images = timed(&mut seconds, || rollout.images(&rows, size))?;
        self.trace.cost.seconds.decode += seconds;
        count("decoder", "images", self.images.len(), rows.len())?;
        self.trace.cost.decodes += rows.len();
        self.listener.on(&Event::Decoded {
            scale,
            ids: &self.alive,
            images: &self.images,
        })
    }

    /// Lets a stage choose the rows that go on.
    fn choose(&mut self, stage: &Stage) -> Result<()> {
        let Stage {
            scale,
            width,
            select,
        } = *stage;
        let mut choice = StageRecord::new(scale, &select, self.alive.clone());
        let warned = self.trace.warnings.len();
        choice.kept = match select {
            Select::Cluster { features } => self.cluster(scale, width, features, &mut choice)?,
            Select::Resample {
                potential,
                lambda,
                draw,
            } => {
                choice.scores = self.score(scale)?;
                let weights = self.weigh(scale, potential, lambda)?;
                let kept = self.draw(scale, width, draw, &weights);
                choice.weights = weights;
                kept
            }
            Select::Top { k } => {
                choice.scores = self.score(scale)?;
                top::top(&choice.scores, k, width)
            }
            Select::Drop => resample::without(self.alive.len(), width, &mut self.stream(scale)),
        };
        choice.warnings = self.trace.warnings[warned..].to_vec();
        self.go_on(choice)
    }

    fn cluster(
        &mut self,
        scale: usize,
        width: usize,
        kind: Features,
        choice: &mut StageRecord,
    ) -> Result<Vec<usize>> {
        let features = self.extract(kind)?;
        let mut stream = self.stream(scale);
        let found = timed(&mut self.trace.cost.seconds.selection, || {
            Ok(diverse(&features, width, &mut stream))
        })?;
        self.warn_of(&found.lost, |ids| Warning::LostFeatures { scale, ids })?;
        if found.distinct < width {
            self.warn(Warning::FewDistinct {
                scale,
                distinct: found.distinct,
                clusters: width,
            })?;
        }
        choice.clusters = found.clusters;
        Ok(found.rows)
    }

    fn extract(&mut self, kind: Features) -> Result<Matrix> {
        let extractor = &self.search.extractors[&kind];
        let cost = &mut self.trace.cost;
        let features = timed(&mut cost.seconds.features, || {
            extractor.extract(&self.images)
        })?;
        count(
            "feature extractor",
            "rows",
            features.rows(),
            self.images.len(),
        )?;
        cost.extractions += self.images.len();
        cost.flops.features += extractor.flops(self.images.len());
        Ok(features)
    }

    /// Scores the images of this scale and writes the scores into the histories.
    fn score(&mut self, scale: usize) -> Result<Vec<f32>> {
        let cost = &mut self.trace.cost;
        let parts = timed(&mut cost.seconds.scorer, || {
            self.search.scores(&self.prompt.text, &self.images)
        })?;
        cost.scorings += parts.len() * self.images.len();
        cost.flops.scorer += self.search.scoring_flops(self.images.len());
        let scores = self.blend.mix(scale, &parts);
        if parts.len() > 1 {
            let named = self.search.scorers.iter().zip(parts);
            let part = |(one, scores): (&WeightedScorer, Vec<f32>)| Part {
                scorer: one.name.to_owned(),
                scale,
                ids: self.alive.clone(),
                scores,
            };
            self.trace.parts.extend(named.map(part));
        }
        for (&id, &score) in self.alive.iter().zip(&scores) {
            self.trace.candidates[id]
                .history
                .push(Scored { scale, score });
        }
        self.listener.on(&Event::Scored {
            scale,
            ids: &self.alive,
            scores: &scores,
        })?;
        let lost = |score: f32| score.is_nan() || score == f32::NEG_INFINITY;
        let rows: Vec<usize> = (0..scores.len()).filter(|&row| lost(scores[row])).collect();
        self.warn_of(&rows, |ids| Warning::LostScores { scale, ids })?;
        let infinite: Vec<usize> = (0..scores.len())
            .filter(|&row| scores[row] == f32::INFINITY)
            .collect();
        self.warn_of(&infinite, |ids| Warning::InfiniteScores { scale, ids })?;
        self.scores = Some(scores.clone());
        Ok(scores)
    }

    /// The probability of each row in a draw.
    fn weigh(&mut self, scale: usize, potential: Potential, lambda: f64) -> Result<Vec<f64>> {
        let potential_of = |&id: &usize| {
            let history = &self.trace.candidates[id].history;
            potential.of(&history
                .iter()
                .map(|scored| scored.score)
                .collect::<Vec<_>>())
        };
        let potentials: Vec<f64> = self.alive.iter().map(potential_of).collect();
        let weights = resample::weights(&potentials, lambda);
        self.warn_of(&weights.infinite, |ids| Warning::InfiniteScores {
            scale,
            ids,
        })?;
        if weights.none {
            self.warn(Warning::AllWeightsZero { scale })?;
        }
        Ok(weights.probabilities)
    }

    fn draw(&self, scale: usize, width: usize, how: Draw, weights: &[f64]) -> Vec<usize> {
        resample::draw(weights, width, how, &mut self.stream(scale))
    }

    /// The chosen rows become the batch.
    fn go_on(&mut self, mut choice: StageRecord) -> Result<()> {
        let kept = choice.kept.clone();
        let mut seconds = 0.0;
        let rollout = self.rollout()?;
        timed(&mut seconds, || rollout.gather(&kept))?;
        self.trace.cost.seconds.selection += seconds;
        let parents = std::mem::take(&mut self.alive);
        for (row, &from) in kept.iter().enumerate() {
            let child = self.add(Some(parents[from]), choice.scale + 1, row);
            self.alive.push(child);
        }
        if choice.scale + 1 == self.trace.scales.len() {
            self.images = kept.iter().map(|&row| self.images[row].clone()).collect();
            self.scores = self
                .scores
                .take()
                .map(|scores| kept.iter().map(|&row| scores[row]).collect());
        }
        choice.children = self.alive.clone();
        let fates = fates(&choice);
        self.listener.on(&Event::Selected {
            scale: choice.scale,
            fates: &fates,
            choice: &choice,
        })?;
        self.trace.stages.push(choice);
        Ok(())
    }

    /// Scores what is left of a round, once, and says whether something is good enough.
    fn settle(&mut self) -> Result<bool> {
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
        Ok(self
            .trace
            .plan
            .enough()
            .is_some_and(|enough| scores.iter().any(|score| *score >= enough)))
    }

    /// Names the winner.
    fn finish(mut self) -> Result<Outcome> {
        let scores: Vec<f32> = self
            .finished
            .iter()
            .map(|finished| finished.score)
            .collect();
        let best = top::ranking(&scores)[0];
        self.trace.winner = self.finished[best].id;
        if self.search.scorers.len() > 1 {
            self.trace.scorers = self.blend.standards().to_vec();
        }
        let cost = &mut self.trace.cost;
        cost.images = cost.rows.last().copied().unwrap_or(0);
        cost.seconds.total = self.began.elapsed().as_secs_f64();
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

    /// Warns of the candidates of some rows, if there are any.
    fn warn_of(
        &mut self,
        rows: &[usize],
        warning: impl FnOnce(Vec<usize>) -> Warning,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.warn(warning(rows.iter().map(|&row| self.alive[row]).collect()))
    }

    /// Warns of something, once.
    fn warn(&mut self, warning: Warning) -> Result<()> {
        if self.trace.warnings.contains(&warning) {
            return Ok(());
        }
        self.listener.on(&Event::Warned(&warning))?;
        self.trace.warnings.push(warning);
        Ok(())
    }
}

/// What became of each candidate that came to a stage.
fn fates(choice: &StageRecord) -> Vec<CandidateOutcome> {
    let children = |row| {
        let of_row = choice
            .kept
            .iter()
            .zip(&choice.children)
            .filter(move |(kept, _)| **kept == row);
        of_row.map(|(_, &child)| child).collect()
    };
    choice
        .ids
        .iter()
        .enumerate()
        .map(|(row, &id)| CandidateOutcome {
            id,
            children: children(row),
        })
        .collect()
}

/// Does `work` and adds the seconds that it took.
fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let result = work();
    *seconds += began.elapsed().as_secs_f64();
    result
}
