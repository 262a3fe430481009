//! Chooses the best rows by their scores.

use crate::ties::descending;

/// Scores whose relative difference is at most this are a tie: a few units in the last place, by
/// which a mix of scores may differ from its value.
const TIE: f32 = 4.0 * f32::EPSILON;

/// The rows, best first. Rows of equal scores keep their order; NaN counts as minus infinity.
pub fn ranking(scores: &[f32]) -> Vec<usize> {
    descending(scores, TIE)
}

/// The rows whose score is at least `least`, best first, at most `width` of them.
pub fn above(scores: &[f32], least: f32, width: usize) -> Vec<usize> {
    let mut rows = ranking(scores);
    rows.retain(|row| scores[*row] >= least);
    rows.truncate(width);
    rows
}

/// The `k` best rows, at least 1, repeated in turn up to `width` rows. If there are fewer than `k`,
/// each is repeated as often as it would be among `k`.
pub fn top(scores: &[f32], k: usize, width: usize) -> Vec<usize> {
    let best = ranking(scores);
    let places = (0..width).map(|i| i % k);
    places
        .filter_map(|place| best.get(place).copied())
        .collect()
}
