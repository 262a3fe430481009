//! Candidates of one text in progress.

use std::{cell::Cell, f64::consts::TAU, ops::Range, sync::Arc};

use candle_core::{DType, Tensor};
use ttsvar_search::{
    DecodeSize, Image, Latent, Rollout, StepCounts, TokenStatistics,
    rng::{Lineage, Stream},
};

use super::TextModel;
use crate::{
    Error, Result,
    models::hart::{Condition, ScaleRun},
    nn::{bilinear, check_finite},
    pipelines::{
        codes::{Drawn, draw_tokens_noting},
        costs::StepCosts,
        decoding::{separate, to_image},
        rows::{self, ForwardOutput, Row, State},
        truncation::DrawSums,
    },
};

/// What a candidate draws at a scale.
pub struct HartDraw {
    /// Its codes.
    pub codes: Drawn,
    /// Normal numbers for the diffusion head, as many as were asked for.
    pub noise: Vec<f32>,
}

/// Draws the tokens of a row from its logits (L, V), flattened and divided by the temperature, and
/// a number of normal numbers.
type Draw<'d> = dyn FnMut(usize, &[f32], usize) -> HartDraw + 'd;

/// Candidates of one text.
pub struct HartRollout<'a> {
    model: &'a TextModel<'a>,
    /// The texts of the guidance branches, shared with forks.
    conditions: Arc<Vec<Condition>>,
    rows: Vec<Row>,
    /// Of the latest step, one per row, if they are asked for.
    statistics: Vec<TokenStatistics>,
    seed: u64,
    scale: usize,
    flops: f64,
    decode_flops: Cell<f64>,
}

impl<'a> HartRollout<'a> {
    pub(super) fn new(
        model: &'a TextModel,
        conditions: Vec<Condition>,
        rows: Range<usize>,
        seed: u64,
    ) -> Self {
        Self {
            model,
            flops: conditions.len() as f64 * model.text_flops(0),
            conditions: Arc::new(conditions),
            rows: rows::start(rows),
            statistics: vec![],
            seed,
            scale: 0,
            decode_flops: Cell::default(),
        }
    }

    /// Adds floating-point operations that were spent for this rollout elsewhere.
    pub(super) fn add_flops(&mut self, flops: f64) {
        self.flops += flops;
    }

    /// The present running sums of the rows, each (1, Z, rows, columns).
    pub fn sums(&self) -> Vec<Tensor> {
        let rows = self.rows.iter();
        rows.filter_map(|row| row.state.sum.clone()).collect()
    }

    fn is_last(&self) -> bool {
        self.scale + 1 == self.model.grids().len()
    }

    /// [`Rollout::step`] with what `draw` draws.
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
        let output = self.forward(&states)?;
        let noise = self.noise();
        let next_branches = (!self.is_last()).then(|| self.model.branches(self.scale + 1));
        let mut next = Vec::with_capacity(self.rows.len());
        for (i, row) in self.rows.iter().enumerate() {
            let of_state = state_of_row[i];
            let drawn = draw(i, &output.logits[of_state], noise);
            let last = output.last.get(of_state).map(Vec::as_slice);
            let sum = self.add(row.state.sum.as_ref(), &drawn, last)?;
            next.push(row.after(&output, of_state, sum, next_branches));
        }
        let branches = self.model.branches(self.scale);
        self.flops += states.len() as f64 * self.model.scale_flops(self.scale, &[0, 0]);
        // Candidates draw their noise apart, even if they share a state.
        self.flops += self.rows.len() as f64 * self.model.extra_flops(self.scale);
        self.rows = next;
        self.statistics.clear();
        self.scale += 1;
        Ok(StepCounts {
            states: states.len(),
            passes: states.len() * branches,
        })
    }

    /// Normal numbers that a candidate needs at this scale.
    fn noise(&self) -> usize {
        let tokens = self.model.tokens(self.scale);
        match self.is_last() {
            true => self.model.networks.transformer.diffusion().noise(tokens),
            false => 0,
        }
    }

    /// Adds the tokens of this scale to a running sum. `last` is the output of the last block at the
    /// last scale.
    fn add(
        &self,
        sum: Option<&Tensor>,
        drawn: &HartDraw,
        last: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        let quantizer = &self.model.networks.quantizer;
        let grids = self.model.grids();
        let grid = grids[self.scale];
        let codes = drawn.codes.map(quantizer, grid)?;
        let Some(last) = last else {
            let place = [self.scale, grids.len()];
            return Ok(quantizer.add(sum, &codes, self.model.latent_size(), place)?);
        };
        let residual = self.residual(drawn, last)?; // (L, Z)
        let (rows, columns) = grid;
        let residual = residual
            .t()?
            .reshape((1, quantizer.channels(), rows, columns))?;
        let added = (codes + residual)?;
        Ok(match sum {
            Some(sum) => (sum + added)?,
            None => added,
        })
    }

    /// What the codes of the last scale leave over, (L, Z), drawn by the diffusion head.
    fn residual(&self, drawn: &HartDraw, last: &[Tensor]) -> Result<Tensor> {
        let transformer = &self.model.networks.transformer;
        let codes = self.model.networks.quantizer.vectors(&drawn.codes.ids)?; // (L, Z)
        let conditions = last
            .iter()
            .map(|x| transformer.diffusion_condition(x, &codes));
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        let guidance = self
            .model
            .settings
            .guidance(self.scale, self.model.grids().len());
        let head = transformer.diffusion();
        let residual = head.sample(&conditions, guidance, &drawn.noise, &mut |_| ())?;
        check_finite("the output of the diffusion head", &residual)?;
        Ok(residual)
    }

    /// Runs the network on distinct states, chunk by chunk.
    fn forward(&self, states: &[Row]) -> Result<ForwardOutput> {
        let model = self.model;
        let conditions = &self.conditions[..model.branches(self.scale)];
        let inverse_tau = model.settings.tau.at(self.scale).recip();
        let mut output = ForwardOutput::default();
        let mut hidden = vec![];
        for chunk in states.chunks(model.rows_at_once) {
            let tokens = self.tokens(chunk)?;
            let seen: Vec<_> = chunk.iter().map(|row| row.state.seen.clone()).collect();
            let run = ScaleRun {
                scale: self.scale,
                tokens: tokens.as_ref(),
                conditions,
                seen: &seen,
                guidance: model.settings.guidance(self.scale, model.grids().len()),
                keep: !self.is_last(),
            };
            let mut watch = |branch: usize, block: usize, x: &Tensor| {
                if branch == 0 && model.hidden_block == Some(block + 1) {
                    hidden.push(x.clone()); // (R, L, C)
                }
            };
            let out = model.networks.transformer.forward(run, &mut watch)?;
            check_finite(&format!("the logits of scale {}", self.scale), &out.logits)?;
            let logits = (out.logits.to_dtype(DType::F32)? * f64::from(inverse_tau))?;
            output
                .logits
                .extend(logits.flatten_from(1)?.to_vec2::<f32>()?);
            output.kv.extend(out.kv.into_iter().map(Arc::new));
            if self.is_last() {
                output.last.extend(by_row(&out.last, chunk.len())?);
            }
        }
        for hidden in hidden {
            // At scale 0, that of the last token of the text, which the first code follows.
            let hidden = match self.scale {
                0 => hidden.narrow(1, hidden.dims()[1] - 1, 1)?.contiguous()?,
                _ => hidden,
            };
            output.hidden.extend(separate(&hidden)?);
        }
        Ok(output)
    }

    /// The running sums of states as tokens of the next scale: (R, L, Z); none before scale 0.
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
        let transformer = &self.model.networks.transformer;
        let tokens = Tensor::cat(&tokens, 0)?
            .to_dtype(transformer.dtype())?
            .to_device(transformer.device())?;
        Ok(Some(tokens))
    }

    /// The running sum of a state, (1, Z, rows, columns); zeros before scale 0.
    fn sum(&self, state: &State) -> Result<Tensor> {
        let channels = self.model.networks.quantizer.channels();
        state.sum_or_zeros(channels, self.model.latent_size())
    }

    /// The latent of a state.
    fn latent(&self, state: &State) -> Result<Latent> {
        let grid = self.model.grids()[self.scale.saturating_sub(1)];
        state.latent(&self.sum(state)?, grid)
    }

    /// Decodes the image of a state. Before the last scale it shows the codes only.
    fn decode(&self, state: &State, size: DecodeSize) -> Result<Image> {
        let transformer = &self.model.networks.transformer;
        let latent = bilinear(&self.sum(state)?, self.model.decoded_cells(size))?
            .to_device(transformer.device())?
            .to_dtype(transformer.dtype())?;
        let decoded = self.model.networks.decoder.forward(&latent)?;
        let flops = self.decode_flops.get() + self.model.decode_flops(size);
        self.decode_flops.set(flops);
        to_image(&decoded)
    }
}

/// Of (branches * R, L, C), for each row that of each branch, (L, C).
fn by_row(x: &Tensor, rows: usize) -> Result<Vec<Vec<Tensor>>> {
    let branches = x.dims()[0] / rows;
    let mut all = vec![];
    for row in 0..rows {
        let of_row = (0..branches).map(|branch| Ok(x.get(branch * rows + row)?));
        all.push(of_row.collect::<Result<_>>()?);
    }
    Ok(all)
}

/// Normal numbers from a stream, two from each pair of its numbers (Box and Muller).
fn normal_numbers(stream: &mut Stream, count: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        let radius = (-2.0 * (1.0 - stream.uniform_f64()).ln()).sqrt();
        let angle = TAU * stream.uniform_f64();
        numbers.push((radius * angle.cos()) as f32);
        numbers.push((radius * angle.sin()) as f32);
    }
    numbers.truncate(count);
    numbers
}

impl Rollout for HartRollout<'_> {
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
        let counts = self.step_with(&mut |row, logits, noise| {
            let mut stream = Stream::sample(seed, lineages[row], scale);
            let mut sums = DrawSums::default();
            let noted = wanted.then_some(&mut sums);
            let codes = draw_tokens_noting(logits, vocabulary, &sampling, &mut stream, noted);
            if wanted {
                statistics.push(sums.means(scale));
            }
            HartDraw {
                codes,
                noise: normal_numbers(&mut stream, noise),
            }
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
            conditions: self.conditions.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let numbers = normal_numbers(&mut Stream::select(1, 0, 0), 20_001);
        let mean = numbers.iter().sum::<f32>() / 20_001.0;
        let variance = numbers.iter().map(|x| x * x).sum::<f32>() / 20_001.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04);
    }
}
