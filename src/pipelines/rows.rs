//! The candidates of a rollout. Rows that share a state share its computation and its memory:
//! states are reference-counted, so selecting rows copies no tensors, and dropped states are freed.

use std::{ops::Range, sync::Arc};

use candle_core::{DType, Device, Tensor};
use ttsvar_search::{Latent, rng::Lineage};

use super::decoding::{hidden_map, latent_map};
use crate::{Result, models::branches::ScaleKv};

/// The tokens drawn so far, as the network needs them. Immutable; the default is that before scale 0.
#[derive(Default)]
pub struct State {
    /// Keys and values of the previous scales, each shared by all rows with the same tokens there.
    pub seen: Vec<Arc<ScaleKv>>,
    /// Running sum of the codes: (1, channels, rows, columns); none before scale 0.
    pub sum: Option<Tensor>,
    /// The output of the chosen block for the latest scale: (L, C); none before scale 0 or if it is
    /// not wanted.
    pub hidden: Option<Tensor>,
}

impl State {
    /// The running sum, (1, channels, rows, columns); zeros before scale 0.
    pub fn sum_or_zeros(&self, channels: usize, cells: (usize, usize)) -> Result<Tensor> {
        match &self.sum {
            Some(sum) => Ok(sum.clone()),
            None => {
                let shape = (1, channels, cells.0, cells.1);
                Ok(Tensor::zeros(shape, DType::F32, &Device::Cpu)?)
            }
        }
    }

    /// The latent of this running sum, with the hidden state of the latest scale, whose grid is
    /// `grid`.
    pub fn latent(&self, sum: &Tensor, grid: (usize, usize)) -> Result<Latent> {
        let hidden = self.hidden.as_ref();
        Ok(Latent {
            map: latent_map(sum)?,
            hidden: hidden.map(|hidden| hidden_map(hidden, grid)).transpose()?,
        })
    }
}

/// The output of the network for distinct states.
pub(super) struct ForwardOutput {
    /// The logits of each state, flattened and divided by the temperature.
    pub logits: Vec<Vec<f32>>,
    /// The keys and values of each state; empty after the last scale.
    pub kv: Vec<Arc<ScaleKv>>,
    /// The output of the chosen block for each state, (L, C) each; empty if it is not wanted.
    pub hidden: Vec<Tensor>,
    /// The output of the last block for each state, (L, C) of each branch; empty if it is not
    /// wanted.
    pub last: Vec<Vec<Tensor>>,
}

/// One candidate.
#[derive(Clone)]
pub struct Row {
    pub lineage: Lineage,
    pub state: Arc<State>,
    /// The layout to which it is steered.
    pub layout: Option<usize>,
}

impl Row {
    /// The row after another scale: `state` is the number of its state in the output, `sum` its new
    /// running sum, and `branches` those of guidance that the next scale runs; none after the last.
    pub(super) fn after(
        &self,
        output: &ForwardOutput,
        state: usize,
        sum: Tensor,
        branches: Option<usize>,
    ) -> Self {
        let mut seen = self.state.seen.clone();
        seen.extend(output.kv.get(state).cloned());
        if let Some(branches) = branches {
            keep_branches(&mut seen, branches);
        }
        Self {
            lineage: self.lineage,
            layout: self.layout,
            state: Arc::new(State {
                seen,
                sum: Some(sum),
                hidden: output.hidden.get(state).cloned(),
            }),
        }
    }
}

/// New candidates, all in one state.
pub(super) fn start(rows: Range<usize>) -> Vec<Row> {
    let state = Arc::new(State::default());
    let row = |i| Row {
        lineage: Lineage::root(i),
        state: state.clone(),
        layout: None,
    };
    rows.map(row).collect()
}

/// One row for each distinct state of some rows, in order of appearance, and which of them stands
/// for each row.
pub(super) fn distinct(rows: &[Row]) -> (Vec<Row>, Vec<usize>) {
    distinct_by(rows, |a, b| Arc::ptr_eq(&a.state, &b.state))
}

/// The same where layouts take effect: rows with different ones share nothing.
pub(super) fn distinct_and_steered(rows: &[Row]) -> (Vec<Row>, Vec<usize>) {
    distinct_by(rows, |a, b| {
        Arc::ptr_eq(&a.state, &b.state) && a.layout == b.layout
    })
}

fn distinct_by(rows: &[Row], same: impl Fn(&Row, &Row) -> bool) -> (Vec<Row>, Vec<usize>) {
    let mut states: Vec<Row> = vec![];
    let mut state_of_row = Vec::with_capacity(rows.len());
    for row in rows {
        let known = states.iter().position(|known| same(known, row));
        state_of_row.push(known.unwrap_or(states.len()));
        if known.is_none() {
            states.push(row.clone());
        }
    }
    (states, state_of_row)
}

/// The same candidates as these rows, for a fork.
pub(super) fn pick(rows: &[Row], wanted: &[usize]) -> Vec<Row> {
    wanted.iter().map(|row| rows[*row].clone()).collect()
}

/// What `of` makes of the state of each of some rows, computed once for each distinct state.
pub(super) fn of_states<T: Clone>(
    rows: &[Row],
    wanted: &[usize],
    of: impl Fn(&State) -> Result<T>,
) -> Result<Vec<T>> {
    let (states, state_of_row) = distinct(&pick(rows, wanted));
    let made = states.iter().map(|row| of(&row.state));
    let made = made.collect::<Result<Vec<T>>>()?;
    Ok(state_of_row.iter().map(|i| made[*i].clone()).collect())
}

/// The rows that were selected after scale `drawn`. The first copy of a row keeps its lineage.
pub(super) fn gather(rows: &[Row], selected: &[usize], drawn: usize) -> Vec<Row> {
    let mut copies = vec![0; rows.len()];
    let mut children = Vec::with_capacity(selected.len());
    for &row in selected {
        let before = rows[row].clone();
        let lineage = before.lineage.copy(drawn, copies[row]);
        copies[row] += 1;
        children.push(Row { lineage, ..before });
    }
    children
}

/// Drops the keys and values of branches that no later scale runs.
pub(super) fn keep_branches(seen: &mut [Arc<ScaleKv>], branches: usize) {
    for kv in seen {
        if kv.len() > branches {
            *kv = Arc::new(kv[..branches].to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::nn::Kv;

    #[test]
    fn branches_that_are_not_needed_any_more_are_freed() {
        let k = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
        let kv = Kv { v: k.clone(), k };
        let pair = Arc::new(vec![vec![kv.clone()], vec![kv]]);
        let mut seen = vec![pair.clone(); 2];
        keep_branches(&mut seen, 2);
        assert!(
            Arc::ptr_eq(&seen[0], &pair),
            "nothing is copied without need"
        );
        keep_branches(&mut seen, 1);
        assert!(seen.iter().all(|kv| kv.len() == 1));
        assert_eq!(Arc::strong_count(&pair), 1);
    }

    #[test]
    fn copies_share_a_state_and_have_lineages_of_their_own() {
        let rows = gather(&start(0..2), &[1, 1, 0], 4);
        let (states, state_of_row) = distinct(&rows);
        assert_eq!((states.len(), state_of_row), (1, vec![0, 0, 0]));
        assert_eq!(rows[0].lineage, Lineage::root(1));
        assert_eq!(rows[1].lineage, Lineage::root(1).copy(4, 1));
        assert_eq!(rows[2].lineage, Lineage::root(0));
    }
}
