//! Candidates of one class in progress.

use std::{cell::Cell, ops::Range, sync::Arc};

use candle_core::{DType, Tensor};
use ttsvar_search::{
    DecodeSize, Image, Latent, Rollout, StepCounts, TokenStatistics,
    rng::{Lineage, Stream},
};

use super::ClassModel;
use crate::{
    Error, Result,
    models::var::{Class, ScaleRun},
    nn::{bilinear, check_finite},
    pipelines::{
        codes::{Drawn, draw_tokens_noting},
        costs::StepCosts,
        decoding::{separate, to_image},
        rows::{self, ForwardOutput, Row, State},
        truncation::DrawSums,
    },
};

/// Draws the tokens of a row from its logits (L, V), flattened and divided by the temperature.
type Draw<'d> = dyn FnMut(usize, &[f32]) -> Drawn + 'd;

/// Candidates of one class.
pub struct VarRollout<'a> {
    model: &'a ClassModel<'a>,
    /// The classes of the guidance branches, shared with forks.
    classes: Arc<Vec<Class>>,
    rows: Vec<Row>,
    /// Of the latest step, one per row, if they are asked for.
    statistics: Vec<TokenStatistics>,
    seed: u64,
    scale: usize,
    flops: f64,
    decode_flops: Cell<f64>,
}

impl<'a> VarRollout<'a> {
    pub(super) fn new(
        model: &'a ClassModel,
        classes: Vec<Class>,
        rows: Range<usize>,
        seed: u64,
    ) -> Self {
        Self {
            model,
            flops: classes.len() as f64 * model.text_flops(0),
            classes: Arc::new(classes),
            rows: rows::start(rows),
            statistics: vec![],
            seed,
            scale: 0,
            decode_flops: Cell::default(),
        }
    }

    /// The present running sums of the rows, each (1, channels, rows, columns).
    pub fn sums(&self) -> Vec<Tensor> {
        let rows = self.rows.iter();
        rows.filter_map(|row| row.state.sum.clone()).collect()
    }

    /// [`Rollout::step`] with the tokens drawn by `draw(row, logits)`.
    ///
    /// # Errors
    /// There is no next scale, or the network fails.
    pub fn step_with(&mut self, draw: &mut Draw) -> Result<StepCounts> {
        let scales = self.model.grids().len();
        if self.scale >= scales {
            return Err(Error::input(format!(
                "expected at most {scales} steps, one per scale"
            )));
        }
        let (states, state_of_row) = rows::distinct(&self.rows);
        let last = self.scale + 1 == scales;
        let output = self.forward(&states, !last)?;
        let branches = self.model.branches(self.scale);
        let next_branches = (!last).then(|| self.model.branches(self.scale + 1));
        let mut next = Vec::with_capacity(self.rows.len());
        for (i, row) in self.rows.iter().enumerate() {
            let state = state_of_row[i];
            let drawn = draw(i, &output.logits[state]);
            let sum = self.add(row.state.sum.as_ref(), &drawn)?;
            next.push(row.after(&output, state, sum, next_branches));
        }
        self.flops += states.len() as f64 * self.model.scale_flops(self.scale, &[0, 0]);
        self.rows = next;
        self.statistics.clear();
        self.scale += 1;
        Ok(StepCounts {
            states: states.len(),
            passes: states.len() * branches,
        })
    }

    /// Adds the tokens of this scale to a running sum.
    fn add(&self, sum: Option<&Tensor>, drawn: &Drawn) -> Result<Tensor> {
        let quantizer = &self.model.networks.quantizer;
        let grids = self.model.grids();
        let grid = grids[self.scale];
        let codes = drawn.map(quantizer, grid)?;
        let place = [self.scale, grids.len()];
        Ok(quantizer.add(sum, &codes, self.model.latent_size(), place)?)
    }

    /// Runs the network on distinct states, chunk by chunk.
    fn forward(&self, states: &[Row], keep: bool) -> Result<ForwardOutput> {
        let model = self.model;
        let classes = &self.classes[..model.branches(self.scale)];
        let inverse_tau = model.settings.tau.at(self.scale).recip();
        let mut output = ForwardOutput::default();
        let mut hidden = vec![];
        for chunk in states.chunks(model.rows_at_once) {
            let tokens = self.tokens(chunk)?;
            let seen: Vec<_> = chunk.iter().map(|row| row.state.seen.clone()).collect();
            let run = ScaleRun {
                scale: self.scale,
                tokens: tokens.as_ref(),
                classes,
                seen: &seen,
                guidance: model.settings.guidance(self.scale, model.grids().len()),
                keep,
            };
            let mut watch = |branch: usize, block: usize, x: &Tensor| {
                if branch == 0 && model.hidden_block == Some(block + 1) {
                    hidden.push(x.clone()); // (R, L, C)
                }
            };
            let (out, kept) = model.networks.transformer.forward(run, &mut watch)?;
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

    /// The running sums of states as tokens of the next scale: (R, L, channels); none before scale
    /// 0.
    fn tokens(&self, rows: &[Row]) -> Result<Option<Tensor>> {
        let grid = self.model.grids()[self.scale];
        let mut tokens = vec![];
        for row in rows {
            if let Some(sum) = &row.state.sum {
                tokens.push(self.model.networks.quantizer.tokens(sum, grid)?);
            }
        }
        if tokens.is_empty() {
            return Ok(None);
        }
        let vector = &self.classes[0].vector; // on the device and in the type of the network
        let tokens = Tensor::cat(&tokens, 0)?;
        Ok(Some(
            tokens
                .to_dtype(vector.dtype())?
                .to_device(vector.device())?,
        ))
    }

    /// The running sum of a state, (1, channels, rows, columns); zeros before scale 0.
    fn sum(&self, state: &State) -> Result<Tensor> {
        let channels = self.model.networks.quantizer.channels();
        state.sum_or_zeros(channels, self.model.latent_size())
    }

    /// The latent of a state.
    fn latent(&self, state: &State) -> Result<Latent> {
        let grid = self.model.grids()[self.scale.saturating_sub(1)];
        state.latent(&self.sum(state)?, grid)
    }

    /// Decodes the image of a state.
    fn decode(&self, state: &State, size: DecodeSize) -> Result<Image> {
        let vector = &self.classes[0].vector; // on the device and in the type of the networks
        let latent = bilinear(&self.sum(state)?, self.model.decoded_cells(size))?
            .to_device(vector.device())?
            .to_dtype(vector.dtype())?;
        let decoded = self.model.networks.decoder.forward(&latent)?;
        let flops = self.decode_flops.get() + self.model.decode_flops(size);
        self.decode_flops.set(flops);
        to_image(&decoded)
    }
}

impl Rollout for VarRollout<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar_search::Result<StepCounts> {
        let seed = self.seed;
        let scale = self.scale;
        let settings = &self.model.settings;
        let sampling = settings.sampling(scale, self.model.grids().len());
        let wanted = settings.token_statistics;
        let vocabulary = self.model.networks.quantizer.vocabulary();
        let lineages: Vec<Lineage> = self.rows.iter().map(|row| row.lineage).collect();
        let mut statistics = vec![];
        let counts = self.step_with(&mut |row, logits| {
            let mut stream = Stream::sample(seed, lineages[row], scale);
            let mut sums = DrawSums::default();
            let noted = wanted.then_some(&mut sums);
            let drawn = draw_tokens_noting(logits, vocabulary, &sampling, &mut stream, noted);
            if wanted {
                statistics.push(sums.means(scale));
            }
            drawn
        })?;
        self.statistics = statistics;
        Ok(counts)
    }

    fn token_statistics(&self) -> Vec<TokenStatistics> {
        self.statistics.clone()
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
        Ok(Box::new(Self {
            model: self.model,
            classes: self.classes.clone(),
            rows: rows::pick(&self.rows, rows),
            statistics: vec![],
            seed: self.seed,
            scale: self.scale,
            flops: 0.0,
            decode_flops: Cell::default(),
        }))
    }

    fn flops(&self) -> f64 {
        self.flops + self.decode_flops.get()
    }
}
