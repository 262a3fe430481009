//! A search in progress: batches of candidates, their steps through the scales, and the end.
//! `choose.rs` continues it with the stages.

use std::time::Instant;

use crate::{
    Error, Image, Result,
    budget::Spent,
    event::{CandidateOutcome, Event, Listener},
    mixer::ScoreMixer,
    pipeline::{DecodeSize, Prompt, Rollout},
    plan::{Plan, Stage},
    rng::Stream,
    run::{Finished, Outcome},
    search::{Search, check_count},
    top,
    trace::{Candidate, Final, StageRecord, Trace},
    verifier::Verifier,
    warning::Warning,
};

/// Everything that changes during a search. Each method is one step.
pub(super) struct SearchState<'a> {
    pub(super) search: &'a Search<'a>,
    pub(super) prompt: &'a Prompt,
    seed: u64,
    pub(super) listener: &'a mut dyn Listener,
    /// The candidates of all rounds before scale 0.
    origin: Box<dyn Rollout + 'a>,
    /// The rounds that have begun.
    rounds: usize,
    /// Whether all rounds are over.
    resuming: bool,
    /// The expected operations of one image without a search, for budgets; 0 where unknown.
    image_flops: f64,
    pub(super) batch: Batch<'a>,
    /// The parts of the trace before this batch.
    before_batch: TraceLengths,
    /// The best candidates that stages suspended, as many as may be resumed.
    suspended: Vec<Suspended<'a>>,
    /// The images of the rows after this scale; empty where they are not decoded.
    pub(super) images: Vec<Image>,
    /// The scores of these images, once they are scored.
    pub(super) scores: Option<Vec<f32>>,
    /// Combines the scores of several scorers.
    pub(super) mixer: ScoreMixer,
    /// The finished images so far.
    finished: Vec<Finished>,
    /// The warnings of the present stage.
    pub(super) warned: Vec<Warning>,
    pub(super) trace: Trace,
    began: Instant,
}

/// Candidates that advance together: a round, or one candidate that is resumed.
pub(super) struct Batch<'a> {
    /// The rows; none after the batch has finished.
    rollout: Option<Box<dyn Rollout + 'a>>,
    /// The candidate of each row.
    pub(super) alive: Vec<usize>,
    /// The scale that they draw next.
    scale: usize,
    /// Whether the stages of the plan apply.
    staged: bool,
}

/// A candidate that waits to be resumed.
struct Suspended<'a> {
    id: usize,
    /// The scale after which it was suspended.
    scale: usize,
    score: f32,
    rollout: Box<dyn Rollout + 'a>,
}

/// The numbers of entries of the lists of a trace.
#[derive(Default)]
struct TraceLengths {
    candidates: usize,
    stages: usize,
    finals: usize,
    parts: usize,
    answers: usize,
    warnings: usize,
}

impl TraceLengths {
    fn of(trace: &Trace) -> Self {
        Self {
            candidates: trace.candidates.len(),
            stages: trace.stages.len(),
            finals: trace.finals.len(),
            parts: trace.parts.len(),
            answers: trace.answers.len(),
            warnings: trace.warnings.len(),
        }
    }

    /// Removes what was added since.
    fn restore(&self, trace: &mut Trace) {
        trace.candidates.truncate(self.candidates);
        trace.stages.truncate(self.stages);
        trace.finals.truncate(self.finals);
        trace.parts.truncate(self.parts);
        trace.answers.truncate(self.answers);
        trace.warnings.truncate(self.warnings);
    }
}

impl<'a> SearchState<'a> {
    /// Checks the plan, reports the start of the search, and encodes the prompt.
    pub(super) fn begin(
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
            budget: search.budget,
            seed,
        })?;
        let mut trace = new_trace(search, prompt, plan, seed);
        for warning in search
            .plan_warnings(plan)
            .into_iter()
            .chain(search.prompt_warnings(prompt)?)
        {
            warn(listener, &mut trace, warning)?;
        }
        trace.steering = search.pipeline.steering(prompt)?;
        if let Some(steering) = &trace.steering {
            listener.on(&Event::Steered { steering })?;
        }
        let candidates = plan.start() * plan.rounds();
        let origin = timed(&mut trace.cost.seconds.text, || {
            search.pipeline.begin(prompt, 0..candidates, seed)
        })?;
        Ok(Self {
            search,
            prompt,
            seed,
            listener,
            origin,
            rounds: 0,
            resuming: false,
            image_flops: search.budget.map_or(0.0, |_| search.image_flops()),
            batch: Batch {
                rollout: None,
                alive: vec![],
                scale: 0,
                staged: true,
            },
            before_batch: TraceLengths::default(),
            suspended: vec![],
            images: vec![],
            scores: None,
            mixer: ScoreMixer::new(&search.scorers),
            finished: vec![],
            warned: vec![],
            trace,
            began,
        })
    }

    /// Starts the next batch, if there is one: a round of the plan, or the best suspended candidate
    /// while too few have finished.
    pub(super) fn next_batch(&mut self) -> Result<bool> {
        if self.found_enough() {
            return Ok(false);
        }
        self.before_batch = TraceLengths::of(&self.trace);
        let plan = &self.trace.plan;
        if !self.resuming && self.rounds < plan.rounds() && self.round_fits() {
            self.start_round()?;
            return Ok(true);
        }
        self.resuming = true;
        let missing = self.finished.len() < plan.finish();
        if missing && !self.suspended.is_empty() && self.resumption_fits() {
            let best = self.suspended.remove(0);
            self.resume(best)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Returns whether another round is likely to fit into the budget, beside an image if none has
    /// finished. The first round always begins.
    fn round_fits(&self) -> bool {
        let reserved = usize::from(self.finished.is_empty() && self.trace.plan.suspends());
        self.rounds == 0 || self.fits(self.trace.plan.start() + reserved)
    }

    /// Returns whether it is likely that a suspended candidate can finish within the budget. The
    /// first image always finishes.
    fn resumption_fits(&self) -> bool {
        self.finished.is_empty() || self.fits(1)
    }

    /// Returns whether more images are likely to fit into the budget.
    fn fits(&self, images: usize) -> bool {
        let Some(budget) = self.search.budget else {
            return true;
        };
        let cost = &self.trace.cost;
        let spent = Spent {
            seconds: self.began.elapsed().as_secs_f64() - cost.seconds.previews,
            flops: cost.flops.total() + self.origin.flops(),
            image_flops: self.image_flops,
            begun: self.rounds * self.trace.plan.start(),
        };
        budget.allows(spent, images)
    }

    /// Returns whether the search may end with the images that it has.
    pub(super) fn may_end_early(&self) -> bool {
        self.search.budget.is_some() && !self.finished.is_empty()
    }

    /// Drops the rows of the batch, but keeps their cost.
    fn release_rollout(&mut self) {
        if let Some(rollout) = self.batch.rollout.take() {
            self.trace.cost.flops.generator += rollout.flops();
        }
    }

    /// Forgets the present batch, except for its cost.
    pub(super) fn abandon_batch(&mut self) {
        self.release_rollout();
        if !self.resuming {
            self.rounds -= 1;
        }
        self.before_batch.restore(&mut self.trace);
    }

    /// Returns whether a finished image is good enough to end the search.
    fn found_enough(&self) -> bool {
        let enough = self.trace.plan.enough();
        enough.is_some_and(|enough| self.finished.iter().any(|image| image.score >= enough))
    }

    fn start_round(&mut self) -> Result<()> {
        let width = self.trace.plan.start();
        let rows: Vec<usize> = (self.rounds * width..(self.rounds + 1) * width).collect();
        self.rounds += 1;
        let rollout = self.origin.fork(&rows)?;
        let layouts = rollout.layouts();
        let alive: Vec<usize> = (0..width).map(|row| self.add(None, 0, row)).collect();
        for (id, layout) in alive.iter().zip(layouts) {
            self.trace.candidates[*id].layout = layout;
        }
        self.batch = Batch {
            rollout: Some(rollout),
            alive,
            scale: 0,
            staged: true,
        };
        Ok(())
    }

    /// Takes up a suspended candidate. It runs to the end without stages.
    fn resume(&mut self, suspended: Suspended<'a>) -> Result<()> {
        let Suspended {
            id,
            scale,
            score,
            rollout,
        } = suspended;
        let child = self.add(Some(id), scale + 1, 0);
        let record = StageRecord::resume(scale, id, score, child);
        self.batch = Batch {
            rollout: Some(rollout),
            alive: vec![child],
            scale: scale + 1,
            staged: false,
        };
        self.record(record)
    }

    /// The scale that the batch draws next; none if it is finished or all of its rows are suspended.
    pub(super) fn next_scale(&self) -> Option<usize> {
        let scales = self.search.pipeline.scales().len();
        let open = self.batch.scale < scales && !self.batch.alive.is_empty();
        open.then_some(self.batch.scale)
    }

    /// The stage that acts on the batch after `scale`, if there is one.
    pub(super) fn stage(&self, scale: usize) -> Option<Stage> {
        let stage = self.trace.plan.stage(scale).copied();
        stage.filter(|_| self.batch.staged)
    }

    /// The rows of the batch.
    pub(super) fn rollout(&mut self) -> Result<&mut (dyn Rollout + 'a)> {
        self.batch
            .rollout
            .as_deref_mut()
            .ok_or_else(|| Error::internal("no batch of the search has begun"))
    }

    /// The stream with which rows are chosen after a scale of this round.
    pub(super) fn stream(&self, scale: usize) -> Stream {
        Stream::select(self.seed, self.rounds.saturating_sub(1), scale)
    }

    /// Adds a candidate that continues `parent`; returns its id.
    fn add(&mut self, parent: Option<usize>, scale: usize, row: usize) -> usize {
        let id = self.trace.candidates.len();
        let parent_of = parent.map(|parent| &self.trace.candidates[parent]);
        let history = parent_of.map_or(vec![], |parent| parent.history.clone());
        let layout = parent_of.and_then(|parent| parent.layout);
        self.trace.candidates.push(Candidate {
            id,
            parent,
            scale,
            row,
            layout,
            history,
            tokens: vec![],
        });
        id
    }

    /// Draws the next scale of every row.
    pub(super) fn step(&mut self, scale: usize) -> Result<()> {
        self.batch.scale = scale + 1;
        let grid = self.search.pipeline.scales()[scale];
        self.images.clear();
        self.scores = None;
        self.listener.on(&Event::ScaleBegun {
            scale,
            ids: &self.batch.alive,
            grid,
        })?;
        let mut seconds = 0.0;
        let rollout = self.rollout()?;
        let counts = timed(&mut seconds, || rollout.step())?;
        let tokens = rollout.token_statistics();
        self.trace.add_tokens(&self.batch.alive, scale, &tokens)?;
        let rows = self.batch.alive.len();
        let cost = &mut self.trace.cost;
        cost.rows[scale] += rows;
        cost.states[scale] += counts.states;
        cost.passes[scale] += counts.passes;
        cost.seconds.transformer[scale] += seconds;
        self.listener.on(&Event::ScaleDone {
            scale,
            rows,
            states: counts.states,
            seconds,
        })
    }

    /// Decodes all rows if a stage or the listener needs their images, and after the last scale.
    pub(super) fn decode(&mut self, scale: usize) -> Result<()> {
        let last = scale + 1 == self.search.pipeline.scales().len();
        let needed = last || self.stage(scale).is_some_and(|stage| stage.uses_images());
        let watched = self.listener.wants_images(scale);
        if !needed && !watched {
            return Ok(());
        }
        let size = if last {
            DecodeSize::Full
        } else {
            self.search.preview
        };
        let rows: Vec<usize> = (0..self.batch.alive.len()).collect();
        let ahead = self.look_ahead(scale)?;
        let mut seconds = 0.0;
        let rollout = match &ahead {
            Some(ahead) => ahead.as_ref(),
            None => self.rollout()?,
        };
        let flops = rollout.flops();
        let images = timed(&mut seconds, || rollout.images(&rows, size))?;
        let flops = rollout.flops() - flops;
        if let Some(ahead) = ahead {
            self.trace.cost.flops.generator += ahead.flops();
        }
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
            ids: &self.batch.alive,
            images: &self.images,
        };
        if watched {
            return timed(&mut cost.seconds.previews, || self.listener.on(&decoded));
        }
        self.listener.on(&decoded)
    }

    /// The rows drawn as far as the stage after `scale` looks ahead; `None` if it does not.
    fn look_ahead(&mut self, scale: usize) -> Result<Option<Box<dyn Rollout + 'a>>> {
        let scales = self.search.pipeline.scales().len();
        let stage = self.stage(scale);
        let ahead = stage.map_or(0..0, |stage| stage.scales_ahead(scales));
        if ahead.is_empty() {
            return Ok(None);
        }
        let rows: Vec<usize> = (0..self.batch.alive.len()).collect();
        let mut rollout = self.rollout()?.fork(&rows)?;
        for scale in ahead {
            let mut seconds = 0.0;
            let counts = timed(&mut seconds, || rollout.step())?;
            let cost = &mut self.trace.cost;
            cost.states[scale] += counts.states;
            cost.passes[scale] += counts.passes;
            cost.seconds.transformer[scale] += seconds;
        }
        Ok(Some(rollout))
    }

    /// Replaces the batch by the chosen rows and records the choice.
    pub(super) fn advance(&mut self, mut record: StageRecord, stage: &Stage) -> Result<()> {
        if stage.suspends() {
            self.suspend(&record)?;
        }
        let kept = record.kept.clone();
        let mut seconds = 0.0;
        let rollout = self.rollout()?;
        timed(&mut seconds, || rollout.gather(&kept))?;
        self.trace.cost.seconds.selection += seconds;
        let parents = std::mem::take(&mut self.batch.alive);
        for (row, &from) in kept.iter().enumerate() {
            let child = self.add(Some(parents[from]), record.scale + 1, row);
            self.batch.alive.push(child);
        }
        if record.scale + 1 == self.trace.scales.len() {
            // Nothing is decoded or scored again: children take over images and scores.
            self.images = kept.iter().map(|&row| self.images[row].clone()).collect();
            if let Some(scores) = &mut self.scores {
                *scores = kept.iter().map(|&row| scores[row]).collect();
            }
        }
        record.children = self.batch.alive.clone();
        self.record(record)
    }

    /// Suspends the rows that a stage does not keep, as far as they may ever be resumed.
    fn suspend(&mut self, record: &StageRecord) -> Result<()> {
        for (row, (&id, &score)) in record.ids.iter().zip(&record.scores).enumerate() {
            if !record.kept.contains(&row) {
                let rollout = self.rollout()?.fork(&[row])?;
                self.suspended.push(Suspended {
                    id,
                    scale: record.scale,
                    score,
                    rollout,
                });
            }
        }
        self.keep_best_suspended();
        Ok(())
    }

    /// Sorts the suspended candidates, best first, and drops those that cannot be resumed any more.
    fn keep_best_suspended(&mut self) {
        let scores: Vec<f32> = self.suspended.iter().map(|one| one.score).collect();
        let mut waiting: Vec<_> = self.suspended.drain(..).map(Some).collect();
        let best = top::ranking(&scores).into_iter();
        let best = best.take(self.trace.plan.finish());
        self.suspended = best.filter_map(|place| waiting[place].take()).collect();
    }

    /// Reports and records a choice.
    fn record(&mut self, record: StageRecord) -> Result<()> {
        self.listener.on(&Event::Selected {
            scale: record.scale,
            fates: &outcomes(&record),
            choice: &record,
        })?;
        self.trace.stages.push(record);
        Ok(())
    }

    /// Ends a batch: scores the rows that have finished, unless they are scored already.
    pub(super) fn finish_batch(&mut self) -> Result<()> {
        self.release_rollout();
        if self.batch.alive.is_empty() {
            return Ok(());
        }
        let last = self.search.pipeline.scales().len().saturating_sub(1);
        let scores = match self.scores.take() {
            Some(scores) => scores,
            None if self.search.scorers.is_empty() => vec![f32::NAN; self.images.len()],
            None => self.score(last, Verifier::Image)?,
        };
        let images = self.images.drain(..);
        for ((&id, &score), image) in self.batch.alive.iter().zip(&scores).zip(images) {
            self.trace.finals.push(Final { id, score });
            self.finished.push(Finished { id, image, score });
        }
        Ok(())
    }

    /// Determines the winner and completes the trace.
    pub(super) fn finish(mut self) -> Result<Outcome> {
        let scores: Vec<f32> = self.finished.iter().map(|image| image.score).collect();
        let best = top::ranking(&scores)[0];
        self.trace.winner = self.finished[best].id;
        if self.search.scorers.len() > 1 {
            self.trace.scorers = self.mixer.standards().to_vec();
        }
        if self.search.budget.is_some() {
            self.trace.plan.ended(self.rounds, self.finished.len());
        }
        let cost = &mut self.trace.cost;
        cost.images = cost.rows.last().copied().unwrap_or(0);
        cost.flops.generator += self.origin.flops() - cost.flops.previews;
        cost.seconds.total = self.began.elapsed().as_secs_f64() - cost.seconds.previews;
        let finished = self.listener.on(&Event::Finished {
            trace: &self.trace,
            image: &self.finished[best].image,
        });
        match finished {
            // There is nothing left to stop.
            Err(Error::Interrupted) if self.search.budget.is_some() => {}
            result => result?,
        }
        Ok(Outcome {
            finished: self.finished,
            best,
            trace: self.trace,
        })
    }

    /// Warns of the candidates in `rows`, unless there are none.
    pub(super) fn warn_rows(
        &mut self,
        rows: &[usize],
        warning: impl FnOnce(Vec<usize>) -> Warning,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let ids = rows.iter().map(|&row| self.batch.alive[row]).collect();
        self.warn(warning(ids))
    }

    /// Reports and records a warning, unless the trace already has it.
    pub(super) fn warn(&mut self, warning: Warning) -> Result<()> {
        if !self.warned.contains(&warning) {
            self.warned.push(warning.clone());
        }
        warn(self.listener, &mut self.trace, warning)
    }
}

/// Reports and records a warning, unless the trace already has it.
fn warn(listener: &mut dyn Listener, trace: &mut Trace, warning: Warning) -> Result<()> {
    if trace.warnings.contains(&warning) {
        return Ok(());
    }
    listener.on(&Event::Warned(&warning))?;
    trace.warnings.push(warning);
    Ok(())
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
    trace.cost.passes = vec![0; scales.len()];
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
pub(super) fn timed<T>(seconds: &mut f64, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let result = work();
    *seconds += began.elapsed().as_secs_f64();
    result
}
