//! Candidates of one prompt in progress.

use std::{ops::Range, sync::Arc};

use candle_core::{DType, Tensor};
use ttsvar_search::{
    DecodeSize, Image, Latent, Rollout, StepCounts, TokenStatistics,
    rng::{Lineage, Stream},
};

use super::{ImageModel, draw_bits, sampling::draw_bits_noting, steering::PreparedLayouts};
use crate::{
    Error, Result,
    models::infinity::{Route, ScaleRun, Text},
    nn::{bilinear, check_finite},
    pipelines::{
        costs::StepCosts,
        decoding::{separate, to_image},
        rows::{self, ForwardOutput, Row, State},
        truncation::DrawSums,
    },
};

/// Draws the bits of a row from its logits (L, 2 bits), flattened and divided by the temperature.
type Draw<'d> = dyn FnMut(usize, &[f32]) -> Vec<u8> + 'd;

/// Candidates of one prompt.
pub struct InfinityRollout<'a> {
    model: &'a ImageModel<'a>,
    /// The texts of the guidance branches, shared with forks.
    texts: Arc<Vec<Text>>,
    text_tokens: Vec<usize>,
    rows: Vec<Row>,
    /// The layouts to which rows are steered.
    layouts: Option<Arc<PreparedLayouts>>,
    /// Of the latest step, one per row, if they are asked for.
    statistics: Vec<TokenStatistics>,
    seed: u64,
    scale: usize,
    flops: f64,
    decode_flops: std::cell::Cell<f64>,
}

impl<'a> InfinityRollout<'a> {
    pub(super) fn new(
        model: &'a ImageModel,
        texts: Vec<Text>,
        rows: Range<usize>,
        seed: u64,
    ) -> Self {
        let text_tokens: Vec<usize> = texts.iter().map(|text| text.normed.dims()[1]).collect();
        let flops = text_tokens
            .iter()
            .map(|tokens| model.text_flops(*tokens))
            .sum();
        Self {
            model,
            texts: Arc::new(texts),
            text_tokens,
            rows: rows::start(rows),
            layouts: None,
            statistics: vec![],
            seed,
            scale: 0,
            flops,
            decode_flops: Default::default(),
        }
    }

    /// Steers the candidates from number `first` on, before scale 0: each draws one of the layouts.
    pub(super) fn steer(&mut self, layouts: PreparedLayouts, first: usize) {
        for (row, number) in self.rows.iter_mut().zip(first..) {
            row.layout = layouts.draw(self.seed, number);
        }
        self.layouts = Some(Arc::new(layouts));
    }

    /// The route of a state at the next scale.
    fn route(&self, row: &Row) -> Option<&Route> {
        self.layouts.as_ref()?.route(self.scale, row.layout)
    }

    /// One row for each state that the network runs on next, and which of them stands for each row.
    fn distinct(&self) -> (Vec<Row>, Vec<usize>) {
        match &self.layouts {
            Some(layouts) if layouts.steers(self.scale) => rows::distinct_and_steered(&self.rows),
            _ => rows::distinct(&self.rows),
        }
    }

    /// Operations of attending to the texts of regions, for states at the next scale.
    fn routing_flops(&self, states: &[Row]) -> f64 {
        let Some(layouts) = &self.layouts else {
            return 0.0;
        };
        let tokens = self.model.tokens(self.scale);
        let routes = states.iter().filter_map(|state| self.route(state));
        let config = self.model.transformer.config();
        let flops = |route| config.region_flops(tokens, layouts.route_tokens(route));
        routes.map(flops).sum()
    }

    /// Adds floating-point operations that were spent for this rollout elsewhere.
    pub(super) fn add_flops(&mut self, flops: f64) {
        self.flops += flops;
    }

    /// [`Rollout::fork`].
    pub fn forked(&self, rows: &[usize]) -> Self {
        Self {
            model: self.model,
            texts: self.texts.clone(),
            text_tokens: self.text_tokens.clone(),
            rows: rows::pick(&self.rows, rows),
            layouts: self.layouts.clone(),
            statistics: vec![],
            seed: self.seed,
            scale: self.scale,
            flops: 0.0,
            decode_flops: Default::default(),
        }
    }

    /// The present running sums of the rows, each (1, channels, rows, columns).
    pub fn sums(&self) -> Vec<Tensor> {
        self.rows
            .iter()
            .filter_map(|row| row.state.sum.clone())
            .collect()
    }

    /// The input of the transformer at the next scale, row by row: each (1, L, bits); none before
    /// scale 0.
    ///
    /// # Errors
    /// There is no next scale.
    pub fn next_tokens(&self) -> Result<Vec<Tensor>> {
        self.rows
            .iter()
            .filter_map(|row| self.tokens(&row.state).transpose())
            .collect()
    }

    /// [`Rollout::step`] with the bits drawn by `draw(row, logits)`.
    pub fn step_with(&mut self, draw: &mut Draw) -> Result<StepCounts> {
        let grid = self.next_grid()?;
        let (states, state_of_row) = self.distinct();
        let last = self.scale + 1 == self.model.grids.len();
        let output = self.forward(&states, !last)?;
        let branches = self.model.branches(self.scale);
        let next_branches = (!last).then(|| self.model.branches(self.scale + 1));
        let mut next = Vec::with_capacity(self.rows.len());
        for (i, row) in self.rows.iter().enumerate() {
            let state = state_of_row[i];
            let bits = draw(i, &output.logits[state]);
            let codes = self.model.latent.codes(&bits, grid)?;
            let sum = self.model.latent.add(row.state.sum.as_ref(), &codes)?;
            next.push(row.after(&output, state, sum, next_branches));
        }
        self.flops += states.len() as f64 * self.model.scale_flops(self.scale, &self.text_tokens);
        self.flops += self.routing_flops(&states);
        self.rows = next;
        self.statistics.clear();
        self.scale += 1;
        Ok(StepCounts {
            states: states.len(),
            passes: states.len() * branches,
        })
    }

    /// Runs the network on distinct states, chunk by chunk.
    fn forward(&self, states: &[Row], keep: bool) -> Result<ForwardOutput> {
        let mut output = ForwardOutput::default();
        let mut hidden = vec![];
        let texts = &self.texts[..self.model.branches(self.scale)];
        let settings = &self.model.settings;
        let inverse_tau = settings.tau.at(self.scale).recip();
        for chunk in states.chunks(self.model.rows_at_once) {
            let input = texts
                .iter()
                .map(|text| self.input(text, chunk))
                .collect::<Result<Vec<_>>>()?;
            let seen: Vec<_> = chunk.iter().map(|row| row.state.seen.clone()).collect();
            let routes: Vec<_> = chunk.iter().map(|row| self.route(row)).collect();
            let layouts = self.layouts.as_ref();
            let run = ScaleRun {
                input: &input,
                texts,
                seen: &seen,
                routing: layouts.and_then(|layouts| layouts.routing(&routes)),
                rope: &self.model.ropes[self.scale],
                guidance: settings.guidance(self.scale),
                keep,
            };
            let (out, kept) = self
                .model
                .transformer
                .forward(run, &mut |branch, block, x| {
                    if branch == 0 && self.model.hidden_block == Some(block + 1) {
                        hidden.push(x.clone()); // (R, L, C)
                    }
                })?;
            check_finite(&format!("the logits of scale {}", self.scale), &out)?;
            let out = (out.to_dtype(DType::F32)? * f64::from(inverse_tau))?;
            output.logits.extend(out.flatten_from(1)?.to_vec2::<f32>()?);
            output.kv.extend(kept.into_iter().map(Arc::new));
        }
        for hidden in hidden {
            output.hidden.extend(separate(&hidden)?);
        }
        Ok(output)
    }

    /// The input of one branch for some states: (R, L, C).
    fn input(&self, text: &Text, states: &[Row]) -> Result<Tensor> {
        let tokens = states
            .iter()
            .filter_map(|row| self.tokens(&row.state).transpose())
            .collect::<Result<Vec<_>>>()?;
        if tokens.is_empty() {
            return self.model.transformer.first_input(text);
        }
        let tokens = Tensor::cat(&tokens, 0)?
            .to_dtype(text.pooled.dtype())?
            .to_device(text.pooled.device())?;
        self.model.transformer.next_input(&tokens, self.scale)
    }

    /// The tokens of a state that the next scale reads: (1, L, bits); none before scale 0.
    fn tokens(&self, state: &State) -> Result<Option<Tensor>> {
        match &state.sum {
            Some(sum) => Ok(Some(self.model.latent.tokens(sum, self.next_grid()?)?)),
            None => Ok(None),
        }
    }

    /// The grid of the next scale.
    fn next_grid(&self) -> Result<(usize, usize)> {
        let grid = self.model.grids.get(self.scale).copied();
        grid.ok_or_else(|| {
            Error::input(format!(
                "expected at most {} steps, one per scale",
                self.scale
            ))
        })
    }

    /// The running sum of a state, (1, channels, rows, columns); zeros before scale 0.
    fn sum(&self, state: &State) -> Result<Tensor> {
        let latent = &self.model.latent;
        state.sum_or_zeros(latent.channels, latent.size())
    }

    /// The latent of a state.
    fn latent(&self, state: &State) -> Result<Latent> {
        let grid = self.model.grids[self.scale.saturating_sub(1)];
        state.latent(&self.sum(state)?, grid)
    }

    /// Decodes the image of a state.
    fn decode(&self, state: &State, size: DecodeSize) -> Result<Image> {
        let sum = self.sum(state)?;
        let text = &self.texts[0].pooled; // on the device and in the type of the networks
        let latent = bilinear(&sum, self.model.decoded_cells(size))?
            .to_device(text.device())?
            .to_dtype(text.dtype())?;
        let decoded = self.model.decoder.forward(&latent)?;
        let flops = self.decode_flops.get() + self.model.decode_flops(size);
        self.decode_flops.set(flops);
        to_image(&decoded)
    }
}

impl Rollout for InfinityRollout<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar_search::Result<StepCounts> {
        let seed = self.seed;
        let scale = self.scale;
        let sampling = self.model.settings.sampling(scale);
        let wanted = self.model.settings.token_statistics;
        let lineages: Vec<Lineage> = self.rows.iter().map(|row| row.lineage).collect();
        let mut statistics = vec![];
        let counts = self.step_with(&mut |row, logits| {
            let mut stream = Stream::sample(seed, lineages[row], scale);
            if !wanted {
                return draw_bits(logits, &sampling, &mut stream);
            }
            let mut sums = DrawSums::default();
            let note = |probabilities: &[f32], bit| sums.add(probabilities, usize::from(bit));
            let bits = draw_bits_noting(logits, &sampling, &mut stream, note);
            statistics.push(sums.means(scale));
            bits
        })?;
        self.statistics = statistics;
        Ok(counts)
    }

    fn token_statistics(&self) -> Vec<TokenStatistics> {
        self.statistics.clone()
    }

    fn layouts(&self) -> Vec<Option<usize>> {
        self.rows.iter().map(|row| row.layout).collect()
    }

    fn images(&self, rows: &[usize], size: DecodeSize) -> ttsvar_search::Result<Vec<Image>> {
        Ok(rows::of_states(&self.rows, rows, |state| {
            self.decode(state, size)
        })?)
    }

    fn latents(&self, rows: &[usize]) -> ttsvar_search::Result<Vec<Latent>> {
        let latents = rows.iter().map(|row| self.latent(&self.rows[*row].state));
        Ok(latents.collect::<Result<_>>()?)
    }

    fn gather(&mut self, rows: &[usize]) -> ttsvar_search::Result<()> {
        let drawn = self.scale.saturating_sub(1); // rows are selected after this scale
        self.rows = rows::gather(&self.rows, rows, drawn);
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
