//! Candidates in progress, the same for all model families that add up codes scale by scale.

use std::{cell::Cell, collections::BTreeMap, ops::Range, sync::Arc};

use candle_core::{DType, Device, Tensor};
use ttsvar_search::{
    DecodeSize, Image, Latent, Rollout, StepCounts, TokenStatistics,
    rng::{Lineage, Stream},
};

use super::{
    costs::StepCosts,
    decoding::{decoded_cells, separate, to_image},
    rows::{self, ForwardOutput, Row, State},
    truncation::DrawSums,
};
use crate::{
    Error, Result,
    models::branches::ScaleKv,
    nn::{bilinear, check_finite, return_free_memory},
};

/// Latent cells of images, half a megapixel or more, whose decode is the peak of memory. It takes so
/// long that returning memory before it costs nothing.
const LARGE_DECODE: usize = 2048;

/// A model that is set up for an image size, as its candidates need it. R candidates run a scale of
/// L tokens together; the running sum of their codes has `channels` channels.
pub trait ScaleModel: StepCosts + Sync {
    /// What the images are generated from, such as the texts of all guidance branches, prepared for
    /// the network.
    type Conditions: Send + Sync;
    /// What a candidate draws at a scale.
    type Drawn;

    /// The token grids (rows, columns), coarse to fine.
    fn grids(&self) -> &[(usize, usize)];

    /// Channels of the running sum.
    fn channels(&self) -> usize;

    /// Rows and columns of the running sum.
    fn latent_size(&self) -> (usize, usize);

    /// Pixels along one side of a cell of the running sum.
    fn patch(&self) -> usize;

    /// The device of the networks.
    fn device(&self) -> &Device;

    /// The type of the networks' activations.
    fn dtype(&self) -> DType;

    /// The block, counted from 1, whose output is kept as the hidden state of each candidate.
    fn hidden_block(&self) -> Option<usize>;

    /// Returns whether statistics of the drawn tokens are wanted.
    fn wants_statistics(&self) -> bool;

    /// The temperature of a scale.
    fn tau(&self, scale: usize) -> f32;

    /// The number of text tokens that each guidance branch attends to; 0 if the model reads none.
    fn text_tokens(&self, conditions: &Self::Conditions) -> Vec<usize>;

    /// The layout to which candidate `number` is steered.
    fn layout(&self, _conditions: &Self::Conditions, _seed: u64, _number: usize) -> Option<usize> {
        None
    }

    /// Returns whether candidates with different layouts differ at a scale.
    fn steers(&self, _conditions: &Self::Conditions, _scale: usize) -> bool {
        false
    }

    /// Operations that steering adds to a scale.
    fn steering_flops(&self, _: &Self::Conditions, _scale: usize, _states: &[Row]) -> f64 {
        0.0
    }

    /// A running sum (1, channels, rows, columns) as the tokens of a scale: (1, L, channels)
    ///
    /// # Errors
    /// The network fails.
    fn input_tokens(&self, scale: usize, sum: &Tensor) -> Result<Tensor>;

    /// Runs one scale. `watch` receives the branch, number and output (R, L, C) of every block.
    ///
    /// # Errors
    /// The network fails.
    fn forward(
        &self,
        step: &ScaleStep<Self::Conditions>,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput>;

    /// Draws what one candidate adds at a scale. `logits` are those of its tokens, flattened and
    /// divided by the temperature; `sums` receives the statistics of the draws, if they are wanted.
    fn draw(
        &self,
        scale: usize,
        logits: &[f32],
        stream: &mut Stream,
        sums: Option<&mut DrawSums>,
    ) -> Self::Drawn;

    /// Adds what was drawn to a running sum (1, channels, rows, columns), which is `None` at scale
    /// 0. `last` is [`ScaleOutput::last`] of the candidate.
    ///
    /// # Errors
    /// The network fails.
    fn add(
        &self,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &Self::Drawn,
        last: Option<&[Tensor]>,
    ) -> Result<Tensor>;

    /// Decodes a latent (1, channels, rows, columns) to (1, 3, height, width), around [-1, 1].
    ///
    /// # Errors
    /// The network fails.
    fn decode(&self, latent: &Tensor) -> Result<Tensor>;

    /// Latent cells (rows, columns) that are decoded.
    fn decoded_cells(&self, size: DecodeSize) -> (usize, usize) {
        decoded_cells(size, self.latent_size(), self.patch())
    }
}

/// One scale of R distinct candidates.
pub struct ScaleStep<'s, C> {
    /// The number of the scale.
    pub scale: usize,
    /// What the images are generated from.
    pub conditions: &'s C,
    /// The number of guidance branches that run.
    pub branches: usize,
    /// The candidates.
    pub rows: &'s [Row],
    /// Their running sums as tokens, (R, L, channels), on the device and in the type of the
    /// networks; `None` at scale 0, where all candidates are equal.
    pub tokens: Option<&'s Tensor>,
    /// The keys and values of each candidate at the scales before.
    pub seen: &'s [Vec<Arc<ScaleKv>>],
    /// Returns the keys and values, which later scales need.
    pub keep: bool,
}

/// What the network makes of [`ScaleStep`].
pub struct ScaleOutput {
    /// Logits (R, L, V), mixed by guidance but not yet divided by the temperature.
    pub logits: Tensor,
    /// The keys and values of each candidate; empty if they are not wanted.
    pub kv: Vec<ScaleKv>,
    /// Of each candidate, the output of the last block for each branch, (L, C); empty if the model
    /// does not read it again.
    pub last: Vec<Vec<Tensor>>,
}

/// Candidates of one prompt or class.
pub struct ModelRollout<'a, M: ScaleModel> {
    model: &'a M,
    /// Shared with forks.
    conditions: Arc<M::Conditions>,
    rows: Vec<Row>,
    /// Of the latest step, one per row, if they are wanted.
    statistics: Vec<TokenStatistics>,
    seed: u64,
    scale: usize,
    flops: f64,
    decode_flops: Cell<f64>,
}

impl<'a, M: ScaleModel> ModelRollout<'a, M> {
    /// The candidates with these numbers, before scale 0.
    pub(super) fn new(
        model: &'a M,
        conditions: M::Conditions,
        numbers: Range<usize>,
        seed: u64,
    ) -> Self {
        let mut rows = rows::start(numbers.clone());
        for (row, number) in rows.iter_mut().zip(numbers) {
            row.layout = model.layout(&conditions, seed, number);
        }
        let texts = model.text_tokens(&conditions);
        Self {
            model,
            conditions: Arc::new(conditions),
            rows,
            statistics: vec![],
            seed,
            scale: 0,
            flops: texts.iter().map(|tokens| model.text_flops(*tokens)).sum(),
            decode_flops: Cell::default(),
        }
    }

    /// Adds floating-point operations that were spent for this rollout elsewhere.
    pub(super) fn add_flops(&mut self, flops: f64) {
        self.flops += flops;
    }

    /// [`Rollout::fork`].
    pub fn forked(&self, rows: &[usize]) -> Self {
        Self {
            model: self.model,
            conditions: self.conditions.clone(),
            rows: rows::pick(&self.rows, rows),
            statistics: vec![],
            seed: self.seed,
            scale: self.scale,
            flops: 0.0,
            decode_flops: Cell::default(),
        }
    }

    /// The present running sums of the rows, each (1, channels, rows, columns).
    pub fn sums(&self) -> Vec<Tensor> {
        let rows = self.rows.iter();
        rows.filter_map(|row| row.state.sum.clone()).collect()
    }

    /// The running sums of the rows as tokens of the next scale, each (1, L, channels); none before
    /// scale 0.
    ///
    /// # Errors
    /// There is no next scale.
    pub fn next_tokens(&self) -> Result<Vec<Tensor>> {
        self.check_next_scale()?;
        self.tokens(&self.rows)
    }

    /// [`Rollout::step`] with what `draw(row, logits)` draws for each row from its logits (L, V),
    /// flattened and divided by the temperature.
    ///
    /// # Errors
    /// There is no next scale, or the network fails.
    pub fn step_with(
        &mut self,
        draw: &mut dyn FnMut(usize, &[f32]) -> M::Drawn,
    ) -> Result<StepCounts> {
        self.check_next_scale()?;
        let model = self.model;
        let (states, state_of_row) = match model.steers(&self.conditions, self.scale) {
            true => rows::distinct_and_steered(&self.rows),
            false => rows::distinct(&self.rows),
        };
        let branches = model.branches(self.scale);
        let mut next = vec![None; self.rows.len()];
        let mut first = 0;
        for chunk in states.chunks(model.rows_at_once()) {
            // Logits are large: only those of one chunk are in memory at a time.
            let output = self.forward(chunk)?;
            let beyond = first + chunk.len();
            for (i, row) in self.rows.iter().enumerate() {
                if (first..beyond).contains(&state_of_row[i]) {
                    let state = state_of_row[i] - first;
                    let drawn = draw(i, &output.logits[state]);
                    next[i] = Some(self.after(row, &output, state, &drawn)?);
                }
            }
            first = beyond;
        }
        self.flops += self.step_flops(&states);
        self.rows = next.into_iter().flatten().collect();
        self.statistics.clear();
        self.scale += 1;
        Ok(StepCounts {
            states: states.len(),
            passes: states.len() * branches,
        })
    }

    /// A row after the next scale. `state` is the number of its state in the output.
    fn after(
        &self,
        row: &Row,
        output: &ForwardOutput,
        state: usize,
        drawn: &M::Drawn,
    ) -> Result<Row> {
        let last = output.last.get(state).map(Vec::as_slice);
        let sum = row.state.sum.as_ref();
        let sum = self.model.add(self.scale, sum, drawn, last)?;
        let next_scale = self.scale + 1;
        let next_branches = (!self.is_last()).then(|| self.model.branches(next_scale));
        Ok(row.after(output, state, sum, next_branches))
    }

    /// Returns whether the next scale is the last one.
    fn is_last(&self) -> bool {
        self.scale + 1 == self.model.grids().len()
    }

    /// Operations of the next scale.
    fn step_flops(&self, states: &[Row]) -> f64 {
        let model = self.model;
        let texts = model.text_tokens(&self.conditions);
        states.len() as f64 * model.scale_flops(self.scale, &texts)
            + model.steering_flops(&self.conditions, self.scale, states)
            + self.rows.len() as f64 * model.extra_flops(self.scale)
    }

    fn check_next_scale(&self) -> Result<()> {
        let scales = self.model.grids().len();
        match self.scale < scales {
            true => Ok(()),
            false => Err(Error::input(format!(
                "expected at most {scales} steps, one per scale"
            ))),
        }
    }

    /// Runs the network on distinct states together.
    fn forward(&self, states: &[Row]) -> Result<ForwardOutput> {
        let model = self.model;
        let tokens = self.joined_tokens(states)?;
        let seen: Vec<_> = states.iter().map(|row| row.state.seen.clone()).collect();
        let step = ScaleStep {
            scale: self.scale,
            conditions: &*self.conditions,
            branches: model.branches(self.scale),
            rows: states,
            tokens: tokens.as_ref(),
            seen: &seen,
            keep: !self.is_last(),
        };
        let mut hidden = None;
        let mut watch = |branch: usize, block: usize, x: &Tensor| {
            if branch == 0 && model.hidden_block() == Some(block + 1) {
                hidden = Some(x.clone()); // (R, L, C)
            }
        };
        let out = model.forward(&step, &mut watch)?;
        check_finite(&format!("the logits of scale {}", self.scale), &out.logits)?;
        let inverse_tau = model.tau(self.scale).recip();
        let logits = (out.logits.to_dtype(DType::F32)? * f64::from(inverse_tau))?;
        let (rows, columns) = model.grids()[self.scale];
        let hidden = match hidden {
            Some(hidden) => separate(&latest(&hidden, rows * columns)?)?,
            None => vec![],
        };
        Ok(ForwardOutput {
            logits: logits.flatten_from(1)?.to_vec2::<f32>()?,
            kv: out.kv.into_iter().map(Arc::new).collect(),
            hidden,
            last: out.last,
        })
    }

    /// The running sums of rows as tokens of the next scale, each (1, L, channels); none before
    /// scale 0.
    fn tokens(&self, rows: &[Row]) -> Result<Vec<Tensor>> {
        let sums = rows.iter().filter_map(|row| row.state.sum.as_ref());
        let tokens = sums.map(|sum| self.model.input_tokens(self.scale, sum));
        tokens.collect()
    }

    /// The same in one tensor (R, L, channels), as the network reads them.
    fn joined_tokens(&self, rows: &[Row]) -> Result<Option<Tensor>> {
        let tokens = self.tokens(rows)?;
        if tokens.is_empty() {
            return Ok(None);
        }
        let tokens = Tensor::cat(&tokens, 0)?
            .to_dtype(self.model.dtype())?
            .to_device(self.model.device())?;
        Ok(Some(tokens))
    }

    /// The running sum of a state, (1, channels, rows, columns); zeros before scale 0.
    fn sum(&self, state: &State) -> Result<Tensor> {
        state.sum_or_zeros(self.model.channels(), self.model.latent_size())
    }

    /// The latent of a state.
    fn latent(&self, state: &State) -> Result<Latent> {
        let grid = self.model.grids()[self.scale.saturating_sub(1)];
        state.latent(&self.sum(state)?, grid)
    }

    /// Decodes the image of a state.
    fn decode(&self, state: &State, size: DecodeSize) -> Result<Image> {
        let cells = self.model.decoded_cells(size);
        if cells.0 * cells.1 >= LARGE_DECODE {
            return_free_memory();
        }
        let latent = bilinear(&self.sum(state)?, cells)?
            .to_device(self.model.device())?
            .to_dtype(self.model.dtype())?;
        let decoded = self.model.decode(&latent)?;
        let flops = self.decode_flops.get() + self.model.decode_flops(size);
        self.decode_flops.set(flops);
        to_image(&decoded)
    }
}

/// The states of the last `tokens` tokens, (R, L, C): at scale 0 a text may precede the codes.
fn latest(hidden: &Tensor, tokens: usize) -> Result<Tensor> {
    let (_, length, _) = hidden.dims3()?;
    Ok(hidden.narrow(1, length - tokens, tokens)?)
}

impl<M: ScaleModel> Rollout for ModelRollout<'_, M> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar_search::Result<StepCounts> {
        let model = self.model;
        let seed = self.seed;
        let scale = self.scale;
        let lineages: Vec<Lineage> = self.rows.iter().map(|row| row.lineage).collect();
        let mut statistics = BTreeMap::new();
        let counts = self.step_with(&mut |row, logits| {
            let mut stream = Stream::sample(seed, lineages[row], scale);
            if !model.wants_statistics() {
                return model.draw(scale, logits, &mut stream, None);
            }
            let mut sums = DrawSums::default();
            let drawn = model.draw(scale, logits, &mut stream, Some(&mut sums));
            statistics.insert(row, sums.means(scale));
            drawn
        })?;
        self.statistics = statistics.into_values().collect();
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
