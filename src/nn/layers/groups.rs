//! Vectors that differ between groups of candidates, such as the modulations of the branches of
//! guidance.

use candle_core::{Result, Tensor};

/// The groups that vectors (C) or (G, C) are for: G, and 1 without that axis. There must be at
/// least one, and they must divide `rows`.
pub(super) fn count(vectors: &Tensor, rows: usize) -> Result<usize> {
    let groups = match vectors.dims() {
        [_] => 1,
        [groups, _] if *groups > 0 && rows.is_multiple_of(*groups) => *groups,
        dims => candle_core::bail!("vectors of shape {dims:?} do not fit {rows} rows"),
    };
    Ok(groups)
}

/// Applies `f` to the part of each group of tensors (B, ...), with the group's vectors (C), one group
/// after the other, and joins the results.
pub(super) fn in_turn(
    groups: usize,
    x: &[&Tensor],
    vectors: &[&Tensor],
    f: impl Fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
) -> Result<Tensor> {
    let part = |group: usize| {
        let rows = |x: &&Tensor| {
            let count = x.dims()[0] / groups;
            x.narrow(0, group * count, count)
        };
        let x = x.iter().map(rows).collect::<Result<Vec<_>>>()?;
        let vectors = vectors.iter().map(|vectors| vectors.get(group));
        f(&x, &vectors.collect::<Result<Vec<_>>>()?)
    };
    Tensor::cat(&(0..groups).map(part).collect::<Result<Vec<_>>>()?, 0)
}
