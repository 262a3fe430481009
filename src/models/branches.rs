//! The branches of guidance inside a transformer: the rows of all candidates with the condition,
//! then the same rows without it.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::{Result, nn::Kv};

/// Keys and values that one candidate leaves at one scale: for each branch, for each block.
pub type ScaleKv = Vec<Vec<Kv>>;

/// Of the rows of all branches (branches * R, L, C) those of one: (R, L, C)
pub(super) fn of_branch(x: &Tensor, branch: usize, rows: usize) -> candle_core::Result<Tensor> {
    x.narrow(0, branch * rows, rows)
}

/// The keys and values of a block at the scales before, for the rows of all branches.
pub(super) fn kv_before(
    seen: &[Vec<Arc<ScaleKv>>],
    branches: usize,
    block: usize,
) -> Vec<Vec<&Kv>> {
    let of_branch = |branch: usize| {
        seen.iter()
            .map(move |scales| scales.iter().map(|kv| &kv[branch][block]).collect())
    };
    (0..branches).flat_map(of_branch).collect()
}

/// The keys and values of each row of k and v (R, L, C), kept as `dtype`. Each row has its own copy: a
/// row that is dropped frees its memory.
pub(super) fn row_kv(k: &Tensor, v: &Tensor, dtype: DType) -> candle_core::Result<Vec<Kv>> {
    let row = |row: usize| {
        let kv = Kv {
            k: k.get(row)?.force_contiguous()?,
            v: v.get(row)?.force_contiguous()?,
        };
        kv.to_dtype(dtype)
    };
    (0..k.dims()[0]).map(row).collect()
}

/// What each row sees: the keys and values before, then its own.
pub(super) fn with_own<'a>(before: &[Vec<&'a Kv>], own: &'a [Kv]) -> Vec<Vec<&'a Kv>> {
    let rows = before.iter().zip(own);
    rows.map(|(before, own)| [&before[..], &[own]].concat())
        .collect()
}

/// Adds the keys and values that the rows of all branches have at a block.
pub(super) fn add_kv(kept: &mut [ScaleKv], own: Vec<Kv>) {
    let rows = kept.len();
    for (row, kv) in own.into_iter().enumerate() {
        kept[row % rows][row / rows].push(kv);
    }
}

/// The vectors (C) that the branches have of one kind: (branches, C)
pub(super) fn of_branches<T>(
    conditions: &[&T],
    vector: impl Fn(&T) -> &Tensor,
) -> candle_core::Result<Tensor> {
    let vectors: Vec<&Tensor> = conditions.iter().map(|c| vector(c)).collect();
    Tensor::stack(&vectors, 0)
}

/// Applies `f` to the rows of each branch (R, L, C) with the branch's condition, and joins the
/// results.
pub(super) fn per_branch<T>(
    conditions: &[&T],
    x: &Tensor,
    f: impl Fn(&T, &Tensor) -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    if let [condition] = conditions {
        return Ok(f(condition, x)?);
    }
    let rows = x.dims()[0] / conditions.len();
    let mut parts = Vec::with_capacity(conditions.len());
    for (branch, condition) in conditions.iter().enumerate() {
        parts.push(f(condition, &of_branch(x, branch, rows)?)?);
    }
    Ok(Tensor::cat(&parts, 0)?)
}
