//! Candidates in progress. A scale draws its tokens one after the other; candidates that have the
//! same tokens share their computation.

use std::{cell::Cell, collections::BTreeMap, ops::Range, sync::Arc};

use candle_core::{DType, Device, Tensor};
use ttsvar_search::{
    DecodeSize, FeatureMap, Image, Latent, Rollout, StepCounts, TokenStatistics,
    rng::{Lineage, Stream},
};

use super::FlexModel;
use crate::{
    Error, Result,
    models::{
        branches::ScaleKv,
        flexar::{Condition, TokenRun},
    },
    nn::{Kv, check_finite},
    pipelines::{
        codes::draw_tokens_noting, costs::StepCosts, normal::normal_numbers, rows::keep_branches,
        truncation::DrawSums,
    },
};

/// The tokens drawn so far, as the network needs them.
#[derive(Clone, Default)]
struct State {
    tokens: Vec<u32>,
    /// Keys and values of the tokens before the latest: one part for each scale before, then one for
    /// each token of the present one.
    seen: Vec<Arc<ScaleKv>>,
}

/// The logits of each state's next token, and the keys and values of its latest one.
type Forwarded = (Vec<Vec<f32>>, Vec<Arc<ScaleKv>>);

/// One candidate.
#[derive(Clone)]
struct Row {
    lineage: Lineage,
    /// The lineage that it had before it was copied, if that was after the latest scale.
    stem: Lineage,
    /// The number of the candidate that it descends from, whose noise it keeps.
    root: usize,
    state: Arc<State>,
}

/// The next token of a candidate.
pub struct NextToken<'l> {
    /// The candidate.
    pub row: usize,
    /// The number of the token among those that are drawn now.
    pub place: usize,
    /// The logits, mixed by guidance and divided by the temperature.
    pub logits: &'l [f32],
}

/// Candidates of one prompt or class.
pub struct FlexRollout<'a> {
    model: &'a FlexModel<'a>,
    /// Shared with forks.
    conditions: Arc<Vec<Condition>>,
    rows: Vec<Row>,
    /// Of the latest step, one per row, if they are wanted.
    statistics: Vec<TokenStatistics>,
    /// Noise that replaces that of the random streams.
    noise: Option<Arc<Vec<Vec<f32>>>>,
    seed: u64,
    scale: usize,
    flops: f64,
    decode_flops: Cell<f64>,
}

impl<'a> FlexRollout<'a> {
    /// The candidates with these numbers, before scale 0.
    pub(super) fn new(
        model: &'a FlexModel<'a>,
        conditions: Vec<Condition>,
        numbers: Range<usize>,
        seed: u64,
    ) -> Self {
        let state = Arc::new(State::default());
        let row = |root| Row {
            lineage: Lineage::root(root),
            stem: Lineage::root(root),
            root,
            state: state.clone(),
        };
        let texts = conditions.iter().map(Condition::tokens);
        Self {
            model,
            rows: numbers.map(row).collect(),
            statistics: vec![],
            noise: None,
            seed,
            scale: 0,
            flops: texts.map(|tokens| model.text_flops(tokens)).sum(),
            decode_flops: Cell::default(),
            conditions: Arc::new(conditions),
        }
    }

    /// The same with this noise instead of that of the random streams, for each starting candidate;
    /// those beyond the list take its last.
    pub fn with_noise(self, noise: Vec<Vec<f32>>) -> Self {
        Self {
            noise: Some(Arc::new(noise)),
            ..self
        }
    }

    /// Adds floating-point operations that were spent for this rollout elsewhere.
    pub(super) fn add_flops(&mut self, flops: f64) {
        self.flops += flops;
    }

    /// The tokens of each row.
    pub fn tokens(&self) -> Vec<Vec<u32>> {
        let rows = self.rows.iter();
        rows.map(|row| row.state.tokens.clone()).collect()
    }

    /// [`Rollout::fork`].
    pub fn forked(&self, rows: &[usize]) -> Self {
        Self {
            model: self.model,
            conditions: self.conditions.clone(),
            rows: rows.iter().map(|row| self.rows[*row].clone()).collect(),
            statistics: vec![],
            noise: self.noise.clone(),
            seed: self.seed,
            scale: self.scale,
            flops: 0.0,
            decode_flops: Cell::default(),
        }
    }

    /// Draws `count` tokens for each row, as `draw` decides, without regard to scales.
    ///
    /// # Errors
    /// An image has fewer tokens, or the network fails.
    pub fn extend(
        &mut self,
        count: usize,
        draw: &mut dyn FnMut(NextToken) -> u32,
    ) -> Result<StepCounts> {
        let branches = StepCosts::branches(self.model, self.scale);
        let mut most = StepCounts::default();
        for place in 0..count {
            let states = self.next_token(place, branches, draw)?;
            most.states = most.states.max(states);
        }
        self.join_parts(count)?;
        most.passes = most.states * branches;
        Ok(most)
    }

    /// Draws the next token of each row; returns the number of distinct states.
    fn next_token(
        &mut self,
        place: usize,
        branches: usize,
        draw: &mut dyn FnMut(NextToken) -> u32,
    ) -> Result<usize> {
        let (states, state_of_row) = self.distinct();
        let mut next: Vec<Option<Arc<State>>> = vec![None; self.rows.len()];
        let mut first = 0;
        for chunk in states.chunks(self.model.rows_at_once()) {
            let (logits, kv) = self.forward(chunk, branches, place == 0)?;
            // Rows that draw the same token stay together.
            let mut known: BTreeMap<(usize, u32), Arc<State>> = BTreeMap::new();
            for row in 0..self.rows.len() {
                let Some(state) = state_of_row[row].checked_sub(first) else {
                    continue;
                };
                let Some(logits) = logits.get(state) else {
                    continue;
                };
                let token = draw(NextToken { row, place, logits });
                let after = || Arc::new(chunk[state].after(token, &kv[state]));
                next[row] = Some(known.entry((state, token)).or_insert_with(after).clone());
            }
            first += chunk.len();
        }
        self.count_flops(states.len(), branches);
        for (row, state) in self.rows.iter_mut().zip(next) {
            row.state = state.ok_or_else(|| Error::internal("a row has no next token"))?;
        }
        Ok(states.len())
    }

    fn count_flops(&mut self, states: usize, branches: usize) {
        let seen = self.rows.first().map_or(0, |row| row.state.tokens.len()) + 1;
        let sizes = self.model.networks.measured().prior.sizes();
        let texts = self.conditions.iter().take(branches).map(Condition::tokens);
        let flops: f64 = texts.map(|text| sizes.token_flops(seen, text)).sum();
        self.flops += states as f64 * flops;
    }

    /// The distinct states of the rows, and which of them each row has.
    fn distinct(&self) -> (Vec<Arc<State>>, Vec<usize>) {
        let mut states: Vec<Arc<State>> = vec![];
        let mut state_of_row = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let known = states
                .iter()
                .position(|state| Arc::ptr_eq(state, &row.state));
            state_of_row.push(known.unwrap_or(states.len()));
            if known.is_none() {
                states.push(row.state.clone());
            }
        }
        (states, state_of_row)
    }

    /// The logits of each state's next token, and the keys and values of its latest one. `first` says
    /// that this is the first token of a scale.
    fn forward(&self, states: &[Arc<State>], branches: usize, first: bool) -> Result<Forwarded> {
        let latest = |state: &Arc<State>| state.tokens.last().copied().unwrap_or_default();
        let tokens: Vec<u32> = states.iter().map(latest).collect();
        let seen: Vec<_> = states.iter().map(|state| state.seen.clone()).collect();
        let run = TokenRun {
            position: states.first().map_or(0, |state| state.tokens.len()),
            tokens: &tokens,
            conditions: &self.conditions[..branches],
            seen: &seen,
        };
        let networks = self.model.networks.get()?;
        let (logits, kv) = networks.prior.forward(run, &mut |_, _, _| ())?;
        let what = format!("the logits of scale {}", self.scale);
        check_finite(&what, &logits)?;
        let logits = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let logits = self.guided(&logits, states.len(), first)?;
        Ok((logits.to_vec2()?, kv.into_iter().map(Arc::new).collect()))
    }

    /// Logits of all branches, (branches * R, V) -> mixed and divided by the temperature, (R, V)
    fn guided(&self, logits: &Tensor, rows: usize, first: bool) -> Result<Tensor> {
        let scale = self.scale.min(self.model.groups().len() - 1);
        let settings = &self.model.settings;
        let conditional = logits.narrow(0, 0, rows)?;
        let cfg = f64::from(settings.cfg.at(scale));
        let mixed = match logits.dims()[0] > rows && cfg != 1.0 {
            true => {
                // Of the two that the released program has, the second serves all tokens but the first.
                let branch = if first { rows } else { logits.dims()[0] - rows };
                let unconditional = logits.narrow(0, branch, rows)?;
                (&unconditional + ((conditional - &unconditional)? * cfg)?)?
            }
            false => conditional,
        };
        Ok((mixed / f64::from(settings.tau.at(scale)))?)
    }

    /// Joins the keys and values of the last `count` tokens of each state, and drops those of
    /// branches that no later scale runs.
    fn join_parts(&mut self, count: usize) -> Result<()> {
        let next_scale = (self.scale + 1).min(self.model.groups().len() - 1);
        let branches = StepCosts::branches(self.model, next_scale);
        let (states, state_of_row) = self.distinct();
        let joined = states.iter().map(|state| {
            let mut state = State::clone(state);
            let parts = state.seen.split_off(state.seen.len() - count);
            state.seen.push(Arc::new(joined(&parts)?));
            keep_branches(&mut state.seen, branches);
            Ok(Arc::new(state))
        });
        let joined = joined.collect::<Result<Vec<_>>>()?;
        for (row, state) in self.rows.iter_mut().zip(state_of_row) {
            row.state = joined[state].clone();
        }
        Ok(())
    }

    /// The noise from which the images of a starting candidate are decoded.
    fn noise(&self, root: usize) -> Vec<f32> {
        if let Some(noise) = &self.noise
            && let Some(last) = noise.last()
        {
            return noise.get(root).unwrap_or(last).clone();
        }
        // The streams of the scales draw tokens; this is the one after the last.
        let scales = self.model.groups().len();
        let mut stream = Stream::sample(self.seed, Lineage::root(root), scales);
        normal_numbers(&mut stream, self.model.noise_values())
    }

    /// Returns whether the last scale has been drawn.
    fn is_finished(&self) -> bool {
        self.scale == self.model.groups().len()
    }

    /// Decodes rows; those with the same tokens and the same noise only once.
    fn decode(&self, rows: &[usize], size: DecodeSize) -> Result<Vec<Image>> {
        let mut distinct: Vec<&Row> = vec![];
        let mut image_of_row = vec![];
        for row in rows.iter().map(|row| &self.rows[*row]) {
            let same =
                |known: &&Row| known.root == row.root && Arc::ptr_eq(&known.state, &row.state);
            let known = distinct.iter().position(same);
            image_of_row.push(known.unwrap_or(distinct.len()));
            if known.is_none() {
                distinct.push(row);
            }
        }
        let noise: Vec<Vec<f32>> = distinct.iter().map(|row| self.noise(row.root)).collect();
        let noise: Vec<&[f32]> = noise.iter().map(Vec::as_slice).collect();
        let tokens: Vec<&[u32]> = distinct.iter().map(|row| &row.state.tokens[..]).collect();
        let steps = self.model.steps(self.is_finished());
        let latents = self.model.latents(&tokens, &noise, steps)?;
        let images = latents.iter().map(|latent| self.model.image(latent, size));
        let images = images.collect::<Result<Vec<_>>>()?;
        let flops = images.len() as f64 * self.model.flops_in(steps, size);
        self.decode_flops.set(self.decode_flops.get() + flops);
        Ok(image_of_row
            .into_iter()
            .map(|image| images[image].clone())
            .collect())
    }

    /// The codes of a state's tokens, zeros where there are none yet.
    fn latent(&self, state: &State) -> Result<Latent> {
        let fsq = self.model.networks.measured().flow.fsq();
        let tokens = self.model.networks.measured().prior.sizes().tokens;
        let width = fsq.width();
        let mut values = vec![0.0; width * tokens];
        for (token, code) in fsq.codes(&state.tokens).chunks(width).enumerate() {
            for (channel, value) in code.iter().enumerate() {
                values[channel * tokens + token] = *value;
            }
        }
        Ok(Latent {
            map: FeatureMap::new(width, 1, tokens, values)?,
            hidden: None,
        })
    }

    /// The streams from which a row draws the tokens of this scale: all but the last, and the last.
    fn streams(&self, row: &Row) -> [Stream; 2] {
        let beyond = self.model.groups().len() + 1;
        let of = |lineage, scale| Stream::sample(self.seed, lineage, scale);
        let common = match self.model.settings.as_released {
            true => row.stem,
            false => row.lineage,
        };
        [of(common, self.scale), of(row.lineage, beyond + self.scale)]
    }
}

impl State {
    /// The state after another token; `kv` are the keys and values of the latest one.
    fn after(&self, token: u32, kv: &Arc<ScaleKv>) -> Self {
        let mut next = self.clone();
        next.tokens.push(token);
        next.seen.push(kv.clone());
        next
    }
}

/// Keys and values of several tokens as one part.
fn joined(parts: &[Arc<ScaleKv>]) -> Result<ScaleKv> {
    let [first, ..] = parts else {
        return Ok(ScaleKv::default());
    };
    let mut branches = vec![];
    for (branch, blocks) in first.iter().enumerate() {
        let mut joined = vec![];
        for block in 0..blocks.len() {
            let kv = |part: fn(&Kv) -> &Tensor| {
                let tokens = parts.iter().map(|tokens| part(&tokens[branch][block]));
                Tensor::cat(&tokens.collect::<Vec<_>>(), 0)
            };
            joined.push(Kv {
                k: kv(|kv| &kv.k)?,
                v: kv(|kv| &kv.v)?,
            });
        }
        branches.push(joined);
    }
    Ok(branches)
}

impl Rollout for FlexRollout<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar_search::Result<StepCounts> {
        let model = self.model;
        let scale = self.scale;
        let Some(&count) = model.groups().get(scale) else {
            let scales = model.groups().len();
            let message = format!("expected at most {scales} steps, one per scale");
            return Err(Error::input(message).into());
        };
        let sampling = model.settings.sampling(scale);
        let vocabulary = model.networks.measured().prior.sizes().vocabulary;
        let mut streams: Vec<_> = self.rows.iter().map(|row| self.streams(row)).collect();
        let mut sums = vec![DrawSums::default(); self.rows.len()];
        let last_alone = model.settings.as_released;
        let counts = self.extend(count, &mut |next| {
            let alone = last_alone && next.place + 1 == count;
            let stream = &mut streams[next.row][usize::from(alone)];
            let noted = Some(&mut sums[next.row]);
            let drawn = draw_tokens_noting(next.logits, vocabulary, &sampling, stream, noted);
            drawn.ids.first().copied().unwrap_or_default()
        })?;
        self.scale += 1;
        for row in &mut self.rows {
            row.stem = row.lineage;
        }
        self.statistics = match model.settings.token_statistics {
            true => sums.iter().map(|sums| sums.means(scale)).collect(),
            false => vec![],
        };
        Ok(counts)
    }

    fn token_statistics(&self) -> Vec<TokenStatistics> {
        self.statistics.clone()
    }

    fn images(&self, rows: &[usize], size: DecodeSize) -> ttsvar_search::Result<Vec<Image>> {
        Ok(self.decode(rows, size)?)
    }

    fn latents(&self, rows: &[usize]) -> ttsvar_search::Result<Vec<Latent>> {
        let latents = rows.iter().map(|row| self.latent(&self.rows[*row].state));
        Ok(latents.collect::<Result<_>>()?)
    }

    fn gather(&mut self, rows: &[usize]) -> ttsvar_search::Result<()> {
        let drawn = self.scale.saturating_sub(1); // rows are selected after this scale
        let mut copies = vec![0; self.rows.len()];
        let mut children = Vec::with_capacity(rows.len());
        for &row in rows {
            let before = &self.rows[row];
            children.push(Row {
                lineage: before.lineage.copy(drawn, copies[row]),
                stem: before.lineage,
                ..before.clone()
            });
            copies[row] += 1;
        }
        self.rows = children;
        self.statistics.clear(); // of the rows before
        Ok(())
    }

    fn fork<'r>(&self, rows: &[usize]) -> ttsvar_search::Result<Box<dyn Rollout + 'r>>
    where
        Self: 'r,
    {
        Ok(Box::new(self.forked(rows)))
    }

    fn flops(&self) -> f64 {
        self.flops + self.decode_flops.get()
    }
}
