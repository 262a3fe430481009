//! The candidates of a rollout. Rows that share a state share its computation and its memory:
//! states are reference-counted, so selecting rows copies no tensors, and dropped states are freed.

use std::{ops::Range, sync::Arc};

use ttsvar_search::rng::Lineage;

use crate::models::branches::ScaleKv;

/// One candidate.
pub(super) struct Row<S> {
    pub lineage: Lineage,
    pub state: Arc<S>,
    /// The layout to which it is steered.
    pub layout: Option<usize>,
}

impl<S> Clone for Row<S> {
    fn clone(&self) -> Self {
        Self {
            lineage: self.lineage,
            state: self.state.clone(),
            layout: self.layout,
        }
    }
}

/// New candidates, all in one state.
pub(super) fn start<S>(rows: Range<usize>, state: S) -> Vec<Row<S>> {
    let state = Arc::new(state);
    let row = |i| Row {
        lineage: Lineage::root(i),
        state: state.clone(),
        layout: None,
    };
    rows.map(row).collect()
}

/// One row for each distinct state of some rows, in order of appearance, and which of them stands
/// for each row.
pub(super) fn distinct<S>(rows: &[Row<S>]) -> (Vec<Row<S>>, Vec<usize>) {
    distinct_by(rows, |a, b| Arc::ptr_eq(&a.state, &b.state))
}

/// The same where layouts take effect: rows with different ones share nothing.
pub(super) fn distinct_and_steered<S>(rows: &[Row<S>]) -> (Vec<Row<S>>, Vec<usize>) {
    distinct_by(rows, |a, b| {
        Arc::ptr_eq(&a.state, &b.state) && a.layout == b.layout
    })
}

fn distinct_by<S>(
    rows: &[Row<S>],
    same: impl Fn(&Row<S>, &Row<S>) -> bool,
) -> (Vec<Row<S>>, Vec<usize>) {
    let mut states: Vec<Row<S>> = vec![];
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
pub(super) fn pick<S>(rows: &[Row<S>], wanted: &[usize]) -> Vec<Row<S>> {
    wanted.iter().map(|row| rows[*row].clone()).collect()
}

/// The rows that were selected after scale `drawn`. The first copy of a row keeps its lineage.
pub(super) fn gather<S>(rows: &[Row<S>], selected: &[usize], drawn: usize) -> Vec<Row<S>> {
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
        let rows = gather(&start(0..2, ()), &[1, 1, 0], 4);
        let (states, state_of_row) = distinct(&rows);
        assert_eq!((states.len(), state_of_row), (1, vec![0, 0, 0]));
        assert_eq!(rows[0].lineage, Lineage::root(1));
        assert_eq!(rows[1].lineage, Lineage::root(1).copy(4, 1));
        assert_eq!(rows[2].lineage, Lineage::root(0));
    }
}
