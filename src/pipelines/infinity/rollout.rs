//! Candidates on their way. Rows that share a state share its computation and its memory: a state
//! is held by reference count, so that selecting rows moves no tensors and dropped ones are freed.

use std::{ops::Range, sync::Arc};

use candle_core::{DType, Device, Tensor};
use ttsvar_search::{
    DecodeSize, Image, Rollout,
    rng::{Lineage, Stream},
};

use super::{Painter, draw_bits};
use crate::{
    Error, Result,
    models::{
        bsq_vae::Latent,
        infinity::{ScaleKv, ScaleRun, Text},
    },
    nn::bilinear,
};

/// What is drawn so far; never changes once made.
struct State {
    /// Keys and values of the scales behind, each shared by all that descend from the same draw.
    seen: Vec<Arc<ScaleKv>>,
    /// Running sum of the codes: (1, channels, rows, columns); none before scale 0.
    sum: Option<Tensor>,
}

/// One candidate.
#[derive(Clone)]
struct Row {
    lineage: Lineage,
    state: Arc<State>,
}

/// Draws the bits of a row from its logits (L, 2 bits), flattened and divided by the temperature.
type Draw<'d> = dyn FnMut(usize, &[f32]) -> Vec<u8> + 'd;

/// Of each distinct state its logits, flattened and divided by the temperature, and what it leaves
/// behind.
type Forward = (Vec<Vec<f32>>, Vec<Arc<ScaleKv>>);

/// Candidates of one prompt.
pub struct InfinityRollout<'a> {
    painter: &'a Painter<'a>,
    texts: Vec<Text>,
    text_tokens: Vec<usize>,
    rows: Vec<Row>,
    seed: u64,
    scale: usize,
    flops: f64,
    decode_flops: std::cell::Cell<f64>,
}

impl<'a> InfinityRollout<'a> {
    pub(super) fn new(
        painter: &'a Painter,
        texts: Vec<Text>,
        rows: Range<usize>,
        seed: u64,
    ) -> Self {
        let state = Arc::new(State {
            seen: Vec::new(),
            sum: None,
        });
        let rows = rows
            .map(|i| Row {
                lineage: Lineage::root(i),
                state: state.clone(),
            })
            .collect();
        let text_tokens: Vec<usize> = texts.iter().map(|text| text.normed.dims()[1]).collect();
        let flops = text_tokens
            .iter()
            .map(|tokens| painter.transformer.text_flops(*tokens))
            .sum();
        Self {
            painter,
            texts,
            text_tokens,
            rows,
            seed,
            scale: 0,
            flops,
            decode_flops: Default::default(),
        }
    }

    /// Books floating-point operations that were spent on behalf of this rollout.
    pub(super) fn spend(&mut self, flops: f64) {
        self.flops += flops;
    }

    /// The running sums of the rows, as they stand: each (1, channels, rows, columns).
    pub fn sums(&self) -> Vec<Tensor> {
        self.rows
            .iter()
            .filter_map(|row| row.state.sum.clone())
            .collect()
    }

    /// What the transformer would read at the next scale, row by row: each (1, L, bits); none
    /// before scale 0.
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
    pub fn step_with(&mut self, draw: &mut Draw) -> Result<usize> {
        let grid = self.next_grid()?;
        let (states, of_row) = distinct(&self.rows);
        let last = self.scale + 1 == self.painter.grids.len();
        let (logits, kept) = self.forward(&states, !last)?;
        let mut next = Vec::with_capacity(self.rows.len());
        for (i, row) in self.rows.iter().enumerate() {
            let bits = draw(i, &logits[of_row[i]]);
            let codes = self.painter.latent.codes(&bits, grid)?;
            let sum = Some(self.painter.latent.add(row.state.sum.as_ref(), &codes)?);
            let mut seen = row.state.seen.clone();
            seen.extend(kept.get(of_row[i]).cloned());
            next.push(Row {
                lineage: row.lineage,
                state: Arc::new(State { seen, sum }),
            });
        }
        self.flops += states.len() as f64 * self.painter.scale_flops(self.scale, &self.text_tokens);
        self.rows = next;
        self.scale += 1;
        Ok(states.len())
    }

    /// Runs the network on distinct states, a chunk at a time.
    fn forward(&self, states: &[Arc<State>], keep: bool) -> Result<Forward> {
        let (mut logits, mut kept) = (Vec::new(), Vec::new());
        for chunk in states.chunks(self.painter.rows_at_once) {
            let input = self
                .texts
                .iter()
                .map(|text| self.input(text, chunk))
                .collect::<Result<Vec<_>>>()?;
            let seen: Vec<_> = chunk.iter().map(|state| state.seen.clone()).collect();
            let (rope, guidance) = (&self.painter.ropes[self.scale], self.painter.guidance());
            let run = ScaleRun {
                input: &input,
                texts: &self.texts,
                seen: &seen,
                rope,
                guidance,
                keep,
            };
            let (out, own) = self.painter.transformer.forward(run, &mut |_, _, _| ())?;
            let out = (out.to_dtype(DType::F32)? * f64::from(self.painter.settings.tau.recip()))?;
            logits.extend(out.flatten_from(1)?.to_vec2::<f32>()?);
            kept.extend(own.into_iter().map(Arc::new));
        }
        Ok((logits, kept))
    }

    /// (R, L, C) for one half
    fn input(&self, text: &Text, states: &[Arc<State>]) -> Result<Tensor> {
        let tokens = states
            .iter()
            .filter_map(|state| self.tokens(state).transpose())
            .collect::<Result<Vec<_>>>()?;
        if tokens.is_empty() {
            return self.painter.transformer.first_input(text);
        }
        let tokens = Tensor::cat(&tokens, 0)?
            .to_dtype(text.pooled.dtype())?
            .to_device(text.pooled.device())?;
        self.painter.transformer.next_input(&tokens, self.scale)
    }

    fn tokens(&self, state: &State) -> Result<Option<Tensor>> {
        let tokens = |sum| Ok(self.painter.latent.tokens(sum, self.next_grid()?)?);
        state.sum.as_ref().map(tokens).transpose()
    }

    /// Of the scale that comes next.
    fn next_grid(&self) -> Result<(usize, usize)> {
        let grid = self.painter.grids.get(self.scale).copied();
        grid.ok_or_else(|| Error::input(format!("a step after the last of {} scales", self.scale)))
    }

    fn decode(&self, state: &State, size: DecodeSize) -> Result<Image> {
        let Latent { channels, .. } = self.painter.latent;
        let (height, width) = self.painter.latent.size();
        let blank = || Tensor::zeros((1, channels, height, width), DType::F32, &Device::Cpu);
        let sum = state.sum.clone().map_or_else(blank, Ok)?;
        let parameter = self.texts[0].pooled.device();
        let latent = bilinear(&sum, self.painter.decoded_cells(size))?.to_device(parameter)?;
        let picture = self
            .painter
            .decoder
            .forward(&latent.to_dtype(self.texts[0].pooled.dtype())?)?;
        let (_, _, height, width) = picture.dims4()?;
        self.decode_flops
            .set(self.decode_flops.get() + self.painter.decode_flops(size));
        let planes = picture
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        Ok(Image::from_chw(width, height, &planes))
    }
}

/// The different states of some rows, in order of appearance, and for each row which of them it
/// has.
fn distinct(rows: &[Row]) -> (Vec<Arc<State>>, Vec<usize>) {
    let mut states: Vec<Arc<State>> = Vec::new();
    let of_row = rows
        .iter()
        .map(|row| {
            let known = states
                .iter()
                .position(|state| Arc::ptr_eq(state, &row.state));
            known.unwrap_or_else(|| {
                states.push(row.state.clone());
                states.len() - 1
            })
        })
        .collect();
    (states, of_row)
}

impl Rollout for InfinityRollout<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn step(&mut self) -> ttsvar_search::Result<usize> {
        let (seed, scale, sampling) = (self.seed, self.scale, self.painter.sampling());
        let lineages: Vec<Lineage> = self.rows.iter().map(|row| row.lineage).collect();
        let states = self.step_with(&mut |row, logits| {
            let mut stream = Stream::paint(seed, lineages[row], scale);
            draw_bits(logits, &sampling, &mut stream)
        })?;
        Ok(states)
    }

    fn images(&self, rows: &[usize], size: DecodeSize) -> ttsvar_search::Result<Vec<Image>> {
        let wanted: Vec<Row> = rows.iter().map(|row| self.rows[*row].clone()).collect();
        let (states, of_row) = distinct(&wanted);
        let images = states
            .iter()
            .map(|state| self.decode(state, size))
            .collect::<Result<Vec<_>>>()?;
        Ok(of_row.iter().map(|state| images[*state].clone()).collect())
    }

    fn gather(&mut self, rows: &[usize]) -> ttsvar_search::Result<()> {
        let mut copies = vec![0; self.rows.len()];
        let child = |row: &usize| {
            let Row { lineage, state } = self.rows[*row].clone();
            copies[*row] += 1;
            // Selecting happens after the scale that was drawn last.
            Row {
                lineage: lineage.copy(self.scale.saturating_sub(1), copies[*row] - 1),
                state,
            }
        };
        self.rows = rows.iter().map(child).collect();
        Ok(())
    }

    fn flops(&self) -> f64 {
        self.flops + self.decode_flops.get()
    }
}
