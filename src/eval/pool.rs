//! Finished images that several contenders share. A plan that chooses among finished rows only
//! (raw, best-of-n, importance) paints the same rows whatever it chooses, and row `i` is the same
//! for every width; so the widest of them paints for all, and each then runs through the ordinary
//! loop over what is there.

use std::ops::Range;

use ttsvar_search::{
    Cost, DecodeSize, Estimate, Image, Outcome, Pipeline, Plan, Prompt, Rollout, Scale, Scorer,
    Search, Silent, WeightedScorer, run,
};

use crate::{Error, Result};

/// Whether a plan chooses among finished rows only, and by their scores, given the number of
/// scales.
pub fn shares(plan: &Plan, scales: usize) -> bool {
    plan.rounds() == 1
        && plan
            .stages()
            .iter()
            .all(|stage| stage.scale + 1 == scales && stage.select.scores())
}

/// Rows of one prompt and seed, painted to the end and scored.
pub struct Pool {
    scales: Vec<Scale>,
    size: (usize, usize),
    images: Vec<Image>,
    /// Of each scorer one score for each image.
    scores: Vec<Vec<f32>>,
    /// What one row alone costs.
    one: Cost,
    /// What they cost together.
    all: Cost,
}

impl Pool {
    /// Paints `rows` rows, at least 1. The first is painted once more by itself: that tells how the
    /// cost grows with the number of rows, since text and the first scale are computed once for all
    /// of them.
    ///
    /// # Errors
    /// Whatever painting and scoring fail with.
    pub fn paint(search: &Search, prompt: &Prompt, rows: usize, seed: u64) -> Result<Self> {
        let scales = search.pipeline.scales().to_vec();
        let paint = |rows| {
            run(
                search,
                prompt,
                &Plan::best_of_n(scales.len(), rows)?,
                seed,
                &mut Silent,
            )
        };
        let one = paint(1)?;
        let all = if rows == 1 { one.clone() } else { paint(rows)? };
        let (one, size) = (one.trace.cost, search.pipeline.image_size());
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
            size,
            images,
            scores,
            one,
            all: all.trace.cost,
        })
    }

    /// What a search by `plan` would have found, at the cost that it would have had; the seconds
    /// are in proportion to the rows.
    ///
    /// # Errors
    /// [`Error::Input`] when the plan is wider than the pool or chooses before the end
    /// ([`shares`]).
    pub fn run(&self, search: &Search, prompt: &Prompt, plan: &Plan, seed: u64) -> Result<Outcome> {
        if !shares(plan, self.scales.len()) || plan.start() > self.images.len() {
            return Err(Error::input(
                "the plan asks for more than finished rows of this pool",
            ));
        }
        let known = |(scores, one): (_, &WeightedScorer<'_>)| Known {
            scores,
            flops: one.scorer.flops(1),
        };
        let known: Vec<Known> = self.scores.iter().zip(&search.scorers).map(known).collect();
        let mut again = Search {
            pipeline: self,
            ..search.clone()
        };
        again
            .scorers
            .iter_mut()
            .zip(&known)
            .for_each(|(one, known)| one.scorer = known);
        let mut outcome = run(&again, prompt, plan, seed, &mut Silent)?;
        let rows = plan.start();
        outcome.trace.cost.seconds.total = self.between(rows, |cost| cost.seconds.total);
        Ok(outcome)
    }

    /// A cost of so many rows, which grows evenly with each.
    fn between(&self, rows: usize, of: impl Fn(&Cost) -> f64) -> f64 {
        let (one, all) = (of(&self.one), of(&self.all));
        let more = self.images.len() - 1;
        if more == 0 {
            one
        } else {
            one + (all - one) * (rows - 1) as f64 / more as f64
        }
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
        let flops = self.between(rows.len(), |cost| cost.flops.generator);
        Ok(Box::new(Finished {
            pool: self,
            scale: 0,
            rows: rows.collect(),
            flops,
        }))
    }

    fn estimate(&self, widths: &[usize], _: &[usize], _: DecodeSize) -> Estimate {
        let rows = widths.first().copied().unwrap_or(1).max(1);
        Estimate {
            flops: self.between(rows, |cost| cost.flops.generator),
            peak_bytes: 0,
        }
    }
}

/// Rows of a pool that pretend to be painted.
struct Finished<'a> {
    pool: &'a Pool,
    scale: usize,
    /// The row of the pool behind each row.
    rows: Vec<usize>,
    flops: f64,
}

impl Rollout for Finished<'_> {
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

/// Says the scores that the pool's images have. The loop asks once, for the first rows in their
/// order.
struct Known<'a> {
    scores: &'a Vec<f32>,
    /// For one image.
    flops: f64,
}

impl Scorer for Known<'_> {
    fn score(&self, _: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        Ok(self.scores[..images.len()].to_vec())
    }

    fn flops(&self, images: usize) -> f64 {
        self.flops * images as f64
    }
}
