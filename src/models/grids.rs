//! The token grids of a checkpoint.

use crate::{Result, nn::Weights};

/// The token grids of a checkpoint: the buffer `lvl_1L` has the number of the scale for each
/// position, and all grids are squares.
pub(super) fn stored_grids(w: &Weights) -> Result<Vec<(usize, usize)>> {
    let [levels, _] = w.dims("lvl_embed.weight")?;
    let numbers = w.whole_numbers("lvl_1L")?;
    let count = |level| numbers.iter().filter(|number| **number == level).count();
    let sides: Vec<usize> = (0..levels as i64)
        .map(|level| count(level).isqrt())
        .collect();
    let grids: Vec<(usize, usize)> = sides.iter().map(|side| (*side, *side)).collect();
    let whole = count_tokens(&grids) == numbers.len();
    if !whole || !numbers.is_sorted() || !sides.is_sorted() || sides.contains(&0) {
        let expected = format!(
            "the numbers 0 to {} in order, each a square number of times",
            levels - 1
        );
        return Err(w.mismatch("lvl_1L", expected, "others"));
    }
    Ok(grids)
}

/// Tokens of all grids together.
pub(super) fn count_tokens(grids: &[(usize, usize)]) -> usize {
    grids.iter().map(|(rows, columns)| rows * columns).sum()
}
