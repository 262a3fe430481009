//! Candidates that several contenders share.
//!
//! Candidate `i` of a prompt and seed is the same for every plan, until a stage copies a candidate
//! that is not finished. So plans without such copies (raw, best-of-n, draft, sequential, auto) need
//! each candidate only once, and so does everything computed from it. A [`Pool`] remembers steps,
//! images, scores and predictions; each plan then runs the ordinary search loop and is charged what
//! it would have cost alone.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ttsvar_search::{
    DecodeSize, Estimate, Image, Latent, LatentVerifier, Outcome, Pipeline, Plan, Prompt, Rollout,
    Scale, Scorer, Search, Select, Silent, Steering, StepCounts, WeightedScorer, Workload, run,
};

use crate::Result;

/// Plans that select before the last scale share candidates only if the states of all candidates
/// fit into this many bytes.
const MAX_STATE_BYTES: u64 = 2 << 30;

/// Returns whether a plan never copies a candidate before the last of `scales` scales.
fn copies_nothing(plan: &Plan, scales: usize) -> bool {
    plan.stages().iter().all(|stage| match stage.select {
        Select::Resample { .. } => stage.scale + 1 == scales,
        Select::Top { k } => k == stage.width || stage.scale + 1 == scales,
        Select::Cluster { .. } | Select::Above { .. } | Select::Drop => true,
    })
}

/// Returns whether a plan generates every candidate to the end.
fn finishes_all(plan: &Plan, scales: usize) -> bool {
    plan.rounds() == 1 && plan.stages().iter().all(|stage| stage.scale + 1 == scales)
}

/// Chooses the plans that can share candidates with this search, in their order.
pub fn sharing<'p>(search: &Search, plans: &[&'p Plan]) -> Vec<&'p Plan> {
    let scales = search.pipeline.scales().len();
    let copying = plans.iter().filter(|plan| copies_nothing(plan, scales));
    let shared: Vec<&Plan> = copying.copied().collect();
    if states_fit(search, &shared) {
        return shared;
    }
    let finishing = shared.into_iter().filter(|plan| finishes_all(plan, scales));
    finishing.collect()
}

/// Returns whether the states of all candidates of these plans fit into memory.
fn states_fit(search: &Search, plans: &[&Plan]) -> bool {
    let scales = search.pipeline.scales().len();
    let mut workload = Workload {
        widths: vec![1; scales],
        suspended: vec![0; scales],
        decodes: vec![0; scales],
        size: search.preview,
    };
    let alone = search.pipeline.estimate(&workload).peak_bytes;
    workload.suspended[scales - 1] = most_candidates(plans);
    let states = search.pipeline.estimate(&workload).peak_bytes - alone;
    states <= MAX_STATE_BYTES
}

/// The most candidates that any of these plans begins.
fn most_candidates(plans: &[&Plan]) -> usize {
    let counts = plans.iter().map(|plan| plan.start() * plan.rounds());
    counts.max().unwrap_or(0)
}

/// Candidates of one prompt and seed with everything that was computed from them.
pub struct Pool<'a> {
    search: &'a Search<'a>,
    seed: u64,
    prompt: Prompt,
    rows: Mutex<Rows<'a>>,
    scorers: Vec<KnownScores<'a>>,
    verifier: Option<KnownPredictions<'a>>,
}

/// The candidates.
struct Rows<'a> {
    /// All of them before scale 0.
    origin: Box<dyn Rollout + 'a>,
    text_flops: f64,
    text_seconds: f64,
    /// Whether all candidates share one state at scale 0.
    share_start: bool,
    rows: Vec<PooledRow<'a>>,
    /// Seconds that the present run would have spent on what was known.
    saved: f64,
}

/// A candidate.
#[derive(Default)]
struct PooledRow<'a> {
    /// Its steps so far.
    steps: Vec<PooledStep>,
    /// Its state after each scale, where it is kept.
    states: BTreeMap<usize, Box<dyn Rollout + 'a>>,
    /// Its images after each scale, at full size or as previews.
    images: BTreeMap<(usize, bool), PooledImage>,
}

/// A step of one candidate.
#[derive(Clone, Copy)]
struct PooledStep {
    counts: StepCounts,
    flops: f64,
    seconds: f64,
}

/// A decoded image.
struct PooledImage {
    image: Image,
    flops: f64,
    seconds: f64,
}

impl<'a> Pool<'a> {
    /// A pool for the candidates of plans that [`sharing`] chose. Those that a plan generates to
    /// the end anyway are generated at once, as a batch.
    ///
    /// # Errors
    /// Generating fails.
    pub fn new(
        search: &'a Search<'a>,
        prompt: &Prompt,
        plans: &[&Plan],
        seed: u64,
    ) -> Result<Self> {
        let scales = search.pipeline.scales().len();
        let began = Instant::now();
        let candidates = most_candidates(plans).max(1);
        let origin = search.pipeline.begin(prompt, 0..candidates, seed)?;
        let mut rows = Rows {
            text_flops: origin.flops(),
            origin,
            text_seconds: began.elapsed().as_secs_f64(),
            share_start: true,
            rows: (0..candidates).map(|_| PooledRow::default()).collect(),
            saved: 0.0,
        };
        if candidates > 1 {
            rows.share_start = rows.origin.fork(&[0, 1])?.step()?.states == 1;
        }
        let finishing = plans.iter().filter(|plan| finishes_all(plan, scales));
        let finishing: Vec<&Plan> = finishing.copied().collect();
        let partial = finishing.len() < plans.len();
        rows.generate(most_candidates(&finishing), scales, partial)?;
        let scorers = search.scorers.iter().map(|weighted| KnownScores {
            scorer: weighted.scorer,
            known: Mutex::default(),
        });
        let verifier = search.verifier.map(|verifier| KnownPredictions {
            verifier,
            known: Mutex::default(),
        });
        Ok(Self {
            search,
            seed,
            prompt: prompt.clone(),
            rows: Mutex::new(rows),
            scorers: scorers.collect(),
            verifier,
        })
    }

    /// The outcome of a search by one of the plans, at the cost that it would have had alone.
    ///
    /// # Errors
    /// Generating or scoring fails, or the plan copies candidates.
    pub fn run(&self, plan: &Plan) -> Result<Outcome> {
        self.lock().saved = 0.0;
        let weighted = self.search.scorers.iter().zip(&self.scorers);
        let scorers = weighted.map(|(weighted, known)| WeightedScorer {
            scorer: known,
            ..*weighted
        });
        let mut replay = Search {
            pipeline: self,
            ..self.search.clone()
        }
        .with_scorers(scorers.collect());
        replay.verifier = match &self.verifier {
            Some(known) => Some(known),
            None => None,
        };
        let mut outcome = run(&replay, &self.prompt, plan, self.seed, &mut Silent)?;
        let mut saved = self.lock().saved;
        saved += self
            .scorers
            .iter()
            .map(|known| known.take_saved())
            .sum::<f64>();
        saved += self
            .verifier
            .iter()
            .map(|known| known.take_saved())
            .sum::<f64>();
        outcome.trace.cost.seconds.total += saved;
        Ok(outcome)
    }

    fn lock(&self) -> MutexGuard<'_, Rows<'a>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Rows<'a> {
    /// Generates the first `count` candidates to the end. Their states are kept after every scale
    /// if `all_states`, otherwise after the last.
    fn generate(&mut self, count: usize, scales: usize, all_states: bool) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let all: Vec<usize> = (0..count).collect();
        let mut batch = self.origin.fork(&all)?;
        for scale in 0..scales {
            let began = Instant::now();
            let flops = batch.flops();
            let counts = batch.step()?;
            let states = counts.states.max(1);
            let step = PooledStep {
                counts: StepCounts {
                    states: 1,
                    passes: counts.passes / states,
                },
                flops: (batch.flops() - flops) / states as f64,
                seconds: began.elapsed().as_secs_f64() / states as f64,
            };
            for (place, row) in self.rows.iter_mut().enumerate().take(count) {
                row.steps.push(step);
                if all_states || scale + 1 == scales {
                    row.states.insert(scale, batch.fork(&[place])?);
                }
            }
        }
        Ok(())
    }

    /// The step of a candidate at a scale, which follows the scales that it has passed.
    fn step(&mut self, row: usize, scale: usize) -> ttsvar_search::Result<PooledStep> {
        if let Some(step) = self.rows[row].steps.get(scale) {
            self.saved += step.seconds;
            return Ok(*step);
        }
        let began = Instant::now();
        let mut state = match scale.checked_sub(1) {
            Some(before) => self.state(row, before)?.fork(&[0])?,
            None => self.origin.fork(&[row])?,
        };
        let counts = state.step()?;
        let step = PooledStep {
            counts,
            flops: state.flops(),
            seconds: began.elapsed().as_secs_f64(),
        };
        let pooled = &mut self.rows[row];
        pooled.steps.push(step);
        pooled.states.insert(scale, state);
        Ok(step)
    }

    /// The state of a candidate after a scale.
    fn state(&self, row: usize, scale: usize) -> ttsvar_search::Result<&(dyn Rollout + 'a)> {
        let state = self.rows[row].states.get(&scale);
        state.map(Box::as_ref).ok_or_else(|| {
            ttsvar_search::Error::internal("the pool does not keep the states of this scale")
        })
    }

    /// The image of a candidate after a scale, and the operations of its decode.
    fn image(
        &mut self,
        row: usize,
        scale: usize,
        size: DecodeSize,
    ) -> ttsvar_search::Result<(Image, f64)> {
        let key = (scale, size == DecodeSize::Full);
        if let Some(known) = self.rows[row].images.get(&key) {
            self.saved += known.seconds;
            return Ok((known.image.clone(), known.flops));
        }
        let began = Instant::now();
        let state = self.state(row, scale)?;
        let flops = state.flops();
        let image = state.images(&[0], size)?.swap_remove(0);
        let decoded = PooledImage {
            image: image.clone(),
            flops: state.flops() - flops,
            seconds: began.elapsed().as_secs_f64(),
        };
        let flops = decoded.flops;
        self.rows[row].images.insert(key, decoded);
        Ok((image, flops))
    }
}

impl Pipeline for Pool<'_> {
    fn scales(&self) -> &[Scale] {
        self.search.pipeline.scales()
    }

    fn image_size(&self) -> (usize, usize) {
        self.search.pipeline.image_size()
    }

    fn steering(&self, prompt: &Prompt) -> ttsvar_search::Result<Option<Steering>> {
        self.search.pipeline.steering(prompt)
    }

    fn begin(
        &self,
        _: &Prompt,
        rows: Range<usize>,
        _: u64,
    ) -> ttsvar_search::Result<Box<dyn Rollout + '_>> {
        let mut pooled = self.lock();
        pooled.saved += pooled.text_seconds;
        Ok(Box::new(PoolRollout {
            pool: self,
            scale: 0,
            rows: rows.collect(),
            flops: pooled.text_flops.into(),
        }))
    }

    fn estimate(&self, workload: &Workload) -> Estimate {
        self.search.pipeline.estimate(workload)
    }
}

/// A rollout over the candidates of a pool.
struct PoolRollout<'p, 'a> {
    pool: &'p Pool<'a>,
    scale: usize,
    /// The candidate behind each row.
    rows: Vec<usize>,
    flops: Mutex<f64>,
}

impl PoolRollout<'_, '_> {
    fn charge(&self, flops: f64) {
        *self.flops.lock().unwrap_or_else(PoisonError::into_inner) += flops;
    }

    /// The scale that the rows have passed.
    fn passed(&self) -> ttsvar_search::Result<usize> {
        let passed = self.scale.checked_sub(1);
        passed.ok_or_else(|| ttsvar_search::Error::internal("the pool has nothing before scale 0"))
    }
}

impl Rollout for PoolRollout<'_, '_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar_search::Result<StepCounts> {
        let mut total = StepCounts::default();
        let mut flops = 0.0;
        let mut pooled = self.pool.lock();
        for (place, row) in self.rows.iter().enumerate() {
            let step = pooled.step(*row, self.scale)?;
            if self.scale > 0 || place == 0 || !pooled.share_start {
                total.states += step.counts.states;
                total.passes += step.counts.passes;
                flops += step.flops;
            }
        }
        drop(pooled);
        self.charge(flops);
        self.scale += 1;
        Ok(total)
    }

    fn layouts(&self) -> Vec<Option<usize>> {
        let all = self.pool.lock().origin.layouts();
        let layout = |row: &usize| all.get(*row).copied().flatten();
        self.rows.iter().map(layout).collect()
    }

    fn images(&self, rows: &[usize], size: DecodeSize) -> ttsvar_search::Result<Vec<Image>> {
        let scale = self.passed()?;
        let mut pooled = self.pool.lock();
        let mut images = vec![];
        for row in rows {
            let (image, flops) = pooled.image(self.rows[*row], scale, size)?;
            images.push(image);
            self.charge(flops);
        }
        Ok(images)
    }

    fn latents(&self, rows: &[usize]) -> ttsvar_search::Result<Vec<Latent>> {
        let scale = self.passed()?;
        let pooled = self.pool.lock();
        let mut latents = vec![];
        for row in rows {
            latents.extend(pooled.state(self.rows[*row], scale)?.latents(&[0])?);
        }
        Ok(latents)
    }

    fn gather(&mut self, rows: &[usize]) -> ttsvar_search::Result<()> {
        self.rows = rows.iter().map(|&row| self.rows[row]).collect();
        Ok(())
    }

    fn fork<'r>(&self, rows: &[usize]) -> ttsvar_search::Result<Box<dyn Rollout + 'r>>
    where
        Self: 'r,
    {
        Ok(Box::new(Self {
            pool: self.pool,
            scale: self.scale,
            rows: rows.iter().map(|&row| self.rows[row]).collect(),
            flops: Mutex::default(),
        }))
    }

    fn flops(&self) -> f64 {
        *self.flops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Results by what they were computed from, each with its seconds.
struct Known<K> {
    results: HashMap<K, (f32, f64)>,
    /// Seconds that the present run would have spent on what was known.
    saved: f64,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self {
            results: HashMap::new(),
            saved: 0.0,
        }
    }
}

impl<K: Eq + std::hash::Hash> Known<K> {
    /// The results for `keys`; those that are not known are computed by `compute`, which gets
    /// their places.
    fn get(
        &mut self,
        keys: Vec<K>,
        compute: impl FnOnce(&[usize]) -> ttsvar_search::Result<Vec<f32>>,
    ) -> ttsvar_search::Result<Vec<f32>> {
        let unknown = |place: &usize| !self.results.contains_key(&keys[*place]);
        let missing: Vec<usize> = (0..keys.len()).filter(unknown).collect();
        let mut computed = BTreeMap::new();
        if !missing.is_empty() {
            let began = Instant::now();
            let results = compute(&missing)?;
            if results.len() != missing.len() {
                return Ok(results); // The search reports the wrong number.
            }
            let seconds = began.elapsed().as_secs_f64() / missing.len() as f64;
            computed.extend(
                missing
                    .into_iter()
                    .zip(results.into_iter().map(|r| (r, seconds))),
            );
        }
        let mut found = Vec::with_capacity(keys.len());
        for (place, key) in keys.into_iter().enumerate() {
            match computed.remove(&place) {
                Some(result) => {
                    found.push(result.0);
                    self.results.insert(key, result);
                }
                None => {
                    let (result, seconds) = self.results[&key];
                    found.push(result);
                    self.saved += seconds;
                }
            }
        }
        Ok(found)
    }
}

/// A scorer that remembers the scores of images.
struct KnownScores<'a> {
    scorer: &'a dyn Scorer,
    known: Mutex<Known<Image>>,
}

impl KnownScores<'_> {
    fn take_saved(&self) -> f64 {
        std::mem::take(&mut lock(&self.known).saved)
    }
}

impl Scorer for KnownScores<'_> {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        lock(&self.known).get(images.to_vec(), |missing| {
            let images: Vec<Image> = missing.iter().map(|&place| images[place].clone()).collect();
            self.scorer.score(prompt, &images)
        })
    }

    fn flops(&self, images: usize) -> f64 {
        self.scorer.flops(images)
    }
}

/// A latent verifier that remembers its predictions.
struct KnownPredictions<'a> {
    verifier: &'a dyn LatentVerifier,
    /// By scale and the bits of the latent.
    known: Mutex<Known<(usize, Vec<u32>)>>,
}

impl KnownPredictions<'_> {
    fn take_saved(&self) -> f64 {
        std::mem::take(&mut lock(&self.known).saved)
    }
}

impl LatentVerifier for KnownPredictions<'_> {
    fn predicts(&self) -> &str {
        self.verifier.predicts()
    }

    fn scales(&self) -> &[usize] {
        self.verifier.scales()
    }

    fn predict(
        &self,
        prompt: &str,
        scale: usize,
        latents: &[Latent],
    ) -> ttsvar_search::Result<Vec<f32>> {
        let bits = |latent: &Latent| {
            let hidden = latent.hidden.iter().flat_map(|map| &map.values);
            let values = latent.map.values.iter().chain(hidden);
            values.map(|value| value.to_bits()).collect()
        };
        let keys = latents.iter().map(|latent| (scale, bits(latent)));
        lock(&self.known).get(keys.collect(), |missing| {
            let latents: Vec<Latent> = missing
                .iter()
                .map(|&place| latents[place].clone())
                .collect();
            self.verifier.predict(prompt, scale, &latents)
        })
    }

    fn flops(&self, candidates: usize) -> f64 {
        self.verifier.flops(candidates)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
