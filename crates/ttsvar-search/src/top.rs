//! Chooses the best rows by their scores.

use std::cmp::Ordering;

/// The rows, best first. Rows of equal scores keep their order; NaN counts as minus infinity.
pub fn ranking(scores: &[f32]) -> Vec<usize> {
    let key = |row: usize| {
        if scores[row].is_nan() {
            f32::NEG_INFINITY
        } else {
            scores[row]
        }
    };
    let mut rows: Vec<usize> = (0..scores.len()).collect();
    rows.sort_by(|&a, &b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
    rows
}

/// The `k` best rows, repeated in turn up to `width` rows; `k` is at least 1 and at most the number
/// of scores.
pub fn top(scores: &[f32], k: usize, width: usize) -> Vec<usize> {
    let best = ranking(scores);
    (0..width).map(|i| best[i % k]).collect()
}
