//! Draws rows, evenly or by weights `exp(lambda * potential)`.
//!
//! The released program computes the weights in float32 without safeguards: a score of 8.9
//! overflows at lambda 10, and a NaN makes every draw even. Here the largest potential is
//! subtracted first, which changes no probability, and [`Weights`] reports the special cases.

use crate::{plan::Draw, rng::Stream};

/// The weights of rows in a draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Probability of each row in a single draw; they sum to 1.
    pub probabilities: Vec<f64>,
    /// Rows of infinite potential: they share all the weight evenly.
    pub infinite: Vec<usize>,
    /// No row has any weight, because every potential is NaN or minus infinity; all rows are
    /// equally likely.
    pub none: bool,
}

/// The weights of rows with these potentials. A row whose potential is NaN or minus infinity has
/// weight 0.
pub fn weights(potentials: &[f64], lambda: f64) -> Weights {
    let top = potentials.iter().copied().fold(f64::NEG_INFINITY, f64::max); // ignores NaN
    let weight = |p: f64| match p {
        _ if p.is_nan() || p == f64::NEG_INFINITY => 0.0,
        _ if p == top => 1.0,
        _ => (lambda * (p - top)).exp(),
    };
    let mut probabilities: Vec<f64> = potentials.iter().map(|&p| weight(p)).collect();
    let none = top == f64::NEG_INFINITY;
    if none {
        probabilities.fill(1.0);
    }
    if top == f64::INFINITY {
        probabilities = potentials
            .iter()
            .map(|&p| f64::from(u8::from(p == top)))
            .collect();
    }
    let total: f64 = probabilities.iter().sum();
    for probability in &mut probabilities {
        *probability /= total;
    }
    let infinite = (0..potentials.len())
        .filter(|&row| potentials[row] == f64::INFINITY)
        .collect();
    Weights {
        probabilities,
        infinite,
        none,
    }
}

/// Draws `count` rows with replacement. `probabilities` are not negative, and at least one is not
/// zero.
pub fn draw(probabilities: &[f64], count: usize, how: Draw, stream: &mut Stream) -> Vec<usize> {
    let weights = CumulativeWeights::new(probabilities);
    match how {
        Draw::Multinomial => (0..count)
            .map(|_| weights.at(stream.uniform_f64()))
            .collect(),
        Draw::Systematic => {
            let offset = stream.uniform_f64();
            (0..count)
                .map(|tooth| weights.at((tooth as f64 + offset) / count as f64))
                .collect()
        }
    }
}

/// Draws `count` of `rows` rows without replacement, at most all of them, each equally likely;
/// returns them in ascending order.
pub fn without(rows: usize, count: usize, stream: &mut Stream) -> Vec<usize> {
    let mut all: Vec<usize> = (0..rows).collect();
    for place in 0..count.min(rows) {
        all.swap(place, place + stream.below(rows - place));
    }
    all.truncate(count);
    all.sort_unstable();
    all
}

/// Cumulative sums of weights, for draws by weight.
pub(super) struct CumulativeWeights {
    ends: Vec<f64>,
    last: usize,
}

impl CumulativeWeights {
    pub(super) fn new(weights: &[f64]) -> Self {
        let mut end = 0.0;
        let ends = weights
            .iter()
            .map(|weight| {
                end += weight;
                end
            })
            .collect();
        let last = weights
            .iter()
            .rposition(|&weight| weight > 0.0)
            .unwrap_or(0);
        Self { ends, last }
    }

    /// The row at a point between 0 (the start) and 1 (the end); never one of weight 0.
    pub(super) fn at(&self, point: f64) -> usize {
        let total = self.ends.last().copied().unwrap_or(0.0);
        self.ends
            .partition_point(|&end| end <= point * total)
            .min(self.last)
    }
}
