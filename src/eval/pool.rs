//! Finished images that several contenders share. Plans that only choose among finished rows (raw,
//! best-of-n, importance) generate the same rows whatever they choose, and row `i` is the same for
//! every width. So the widest plan generates the rows for all of them, and each plan then runs the
//! ordinary search loop over these rows.

use std::ops::Range;

use ttsvar_search::{
    Cost, DecodeSize, Estimate, Image, Outcome, Pipeline, Plan, Prompt, Rollout, Scale, Scorer,
    Search, Silent, run,
};

use crate::{Error, Result};

/// Returns whether a plan only chooses among finished rows and by their scores, for a model of
/// `scales` scales.
pub fn shares(plan: &Plan, scales: usize) -> bool {
    plan.rounds() == 1
        && plan
            .stages()
            .iter()
            .all(|stage| stage.scale + 1 == scales && stage.select.scores())
}

/// Finished and scored rows of one prompt and seed.
pub struct Pool {
    scales: Vec<Scale>,
    size: (usize, usize),
    images: Vec<Image>,
    /// For each scorer, one score per image.
    scores: Vec<Vec<f32>>,
    /// Cost of a single row.
    single: Cost,
    /// Cost of all rows.
    all: Cost,
}

impl Pool {
    /// Generates `rows` rows, at least 1. The first row is also generated alone to find out how the
    /// cost grows with the number of rows: text and the first scale are computed once for all of
    /// them.
    ///
    /// # Errors
    /// Generating or scoring fails.
    pub fn generate(search: &Search, prompt: &Prompt, rows: usize, seed: u64) -> Result<Self> {
        let scales = search.pipeline.scales().to_vec();
        let generate = |rows| {
            let plan = Plan::best_of_n(scales.len(), rows)?;
            run(search, prompt, &plan, seed, &mut Silent)
        };
        let single = generate(1)?;
        let all = if rows == 1 {
            single.clone()
        } else {
            generate(rows)?
        };
        let scores = match &all.trace.parts[..] {
            [] => vec![all.finished.iter().map(|finished| finished.score).collect()],
            // Scored once, at the end
            parts => parts.iter().map(|part| part.scores.clone()).collect(),
        };
        let images = all
            .finished
            .into_iter()
            .map(|finished| finished.image)
            .collect();
        Ok(Self {
            scales,
            size: search.pipeline.image_size(),
            images,
            scores,
            single: single.trace.cost,
            all: all.trace.cost,
        })
    }

    /// The outcome that a search by `plan` would have had, at the cost that it would have had. The
    /// seconds are proportional to the rows.
    ///
    /// # Errors
    /// [`Error::Input`] if the plan is wider than the pool or selects before the end ([`shares`]).
    pub fn run(&self, search: &Search, prompt: &Prompt, plan: &Plan, seed: u64) -> Result<Outcome> {
        if !shares(plan, self.scales.len()) || plan.start() > self.images.len() {
            return Err(Error::input(
                "the plan needs more than the finished rows of this pool",
            ));
        }
        let known: Vec<KnownScores> = self
            .scores
            .iter()
            .zip(&search.scorers)
            .map(|(scores, weighted)| KnownScores {
                scores,
                flops: weighted.scorer.flops(1),
            })
            .collect();
        let mut replay = Search {
            pipeline: self,
            ..search.clone()
        };
        for (weighted, known) in replay.scorers.iter_mut().zip(&known) {
            weighted.scorer = known;
        }
        let mut outcome = run(&replay, prompt, plan, seed, &mut Silent)?;
        let rows = plan.start();
        outcome.trace.cost.seconds.total = self.cost_of(rows, |cost| cost.seconds.total);
        Ok(outcome)
    }

    /// A part of the cost of `rows` rows, which grows linearly.
    fn cost_of(&self, rows: usize, part: impl Fn(&Cost) -> f64) -> f64 {
        let single = part(&self.single);
        let more = self.images.len() - 1;
        if more == 0 {
            return single;
        }
        single + (part(&self.all) - single) * (rows - 1) as f64 / more as f64
    }
}

impl Pipeline for Pool {
    fn scales(&self) -> &[Scale] {
        &self.scales
    }

    fn image_size(&self) -> (usize, usize) {
        self.size
    }

    fn begin(
        &self,
        _: &Prompt,
        rows: Range<usize>,
        _: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let flops = self.cost_of(rows.len(), |cost| cost.flops.generator);
        Ok(Box::new(PoolRollout {
            pool: self,
            scale: 0,
            rows: rows.collect(),
            flops,
        }))
    }

    fn estimate(&self, widths: &[usize], _: &[usize], _: DecodeSize) -> Estimate {
        let rows = widths.first().copied().unwrap_or(1).max(1);
        Estimate {
            flops: self.cost_of(rows, |cost| cost.flops.generator),
            peak_bytes: 0,
        }
    }
}

/// A rollout over the rows of a pool: they are finished already.
struct PoolRollout<'a> {
    pool: &'a Pool,
    scale: usize,
    /// The row of the pool behind each row.
    rows: Vec<usize>,
    flops: f64,
}

impl Rollout for PoolRollout<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar_search::Result<usize> {
        self.scale += 1;
        Ok(if self.scale == 1 { 1 } else { self.rows.len() })
    }

    fn images(&self, rows: &[usize], _: DecodeSize) -> ttsvar_search::Result<Vec<Image>> {
        Ok(rows
            .iter()
            .map(|&row| self.pool.images[self.rows[row]].clone())
            .collect())
    }

    fn gather(&mut self, rows: &[usize]) -> ttsvar_search::Result<()> {
        self.rows = rows.iter().map(|&row| self.rows[row]).collect();
        Ok(())
    }

    fn flops(&self) -> f64 {
        self.flops
    }
}

/// Returns the known scores of the pool's images. The search loop asks once, for the first rows in
/// their order.
struct KnownScores<'a> {
    scores: &'a Vec<f32>,
    /// Of one image.
    flops: f64,
}

impl Scorer for KnownScores<'_> {
    fn score(&self, _: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        Ok(self.scores[..images.len()].to_vec())
    }

    fn flops(&self, images: usize) -> f64 {
        self.flops * images as f64
    }
}
