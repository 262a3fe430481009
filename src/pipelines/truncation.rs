//! Truncates distributions by top-k and top-p (`sample_with_top_k_top_p_` of VAR, whose successor in
//! Infinity is the same), and what a draw says of the distribution.

use ttsvar_search::TokenStatistics;

/// Probabilities of `logits` after truncation.
///
/// As in the original, values are removed whose cumulative probability, from the least likely value
/// upwards, is at most 1 - `top_p`. The most likely value is always kept, and so are values equal
/// to the least likely of the `top_k` kept.
pub fn truncate(logits: &[f32], top_k: usize, top_p: f32) -> Vec<f32> {
    let mut kept = logits.to_vec();
    truncate_logits(&mut kept, top_k, top_p);
    softmax(&kept)
}

/// The same truncation of the logits: those of removed values become minus infinity.
pub(super) fn truncate_logits(logits: &mut [f32], top_k: usize, top_p: f32) {
    if (1..logits.len()).contains(&top_k) {
        let mut sorted = logits.to_vec();
        let (_, least, _) = sorted.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
        let least = *least;
        for value in logits.iter_mut().filter(|value| **value < least) {
            *value = f32::NEG_INFINITY;
        }
    }
    if top_p > 0.0 {
        let p = softmax(logits);
        let mut order: Vec<usize> = (0..logits.len())
            .filter(|i| logits[*i] > f32::NEG_INFINITY)
            .collect();
        order.sort_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        order.pop(); // the most likely value
        let mut sum = 0.0;
        for i in order {
            sum += p[i];
            if sum > 1.0 - top_p {
                break;
            }
            logits[i] = f32::NEG_INFINITY;
        }
    }
}

pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|v| (v - top).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.iter().map(|p| p / total).collect()
}

/// Sums over the draws of one candidate at one scale.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrawSums {
    entropy: f64,
    log_likelihood: f64,
    draws: usize,
}

impl DrawSums {
    /// Adds a draw of `value` from these probabilities.
    pub(super) fn add(&mut self, probabilities: &[f32], value: usize) {
        let possible = probabilities.iter().map(|p| f64::from(*p));
        for p in possible.filter(|p| *p > 0.0) {
            self.entropy -= p * p.log2();
        }
        self.log_likelihood += f64::from(probabilities[value]).ln();
        self.draws += 1;
    }

    /// Adds other draws.
    pub(super) fn add_all(&mut self, other: &Self) {
        self.entropy += other.entropy;
        self.log_likelihood += other.log_likelihood;
        self.draws += other.draws;
    }

    /// The means, of a scale with at least one draw.
    pub(super) fn means(&self, scale: usize) -> TokenStatistics {
        let draws = self.draws.max(1) as f64;
        TokenStatistics {
            scale,
            entropy: (self.entropy / draws) as f32,
            log_likelihood: (self.log_likelihood / draws) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_equal_to_the_least_of_the_kept_ones_are_kept() {
        let found = truncate(&[1.0, 3.0, 2.0, 2.0, 0.0], 2, 0.0);
        let kept: Vec<bool> = found.iter().map(|p| *p > 0.0).collect();
        assert_eq!(kept, [false, true, true, true, false]);
        let all = truncate(&[1.0, 3.0, 2.0], 900, 0.0);
        assert!(all.iter().all(|p| *p > 0.0));
    }

    #[test]
    fn top_p_counts_what_top_k_has_left() {
        // 0.4, 0.3, 0.2 and 0.1; of the first three, the last has 2/9.
        let logits = [0.1f32, 0.2, 0.3, 0.4].map(f32::ln);
        let kept = |top_k, top_p| -> Vec<bool> {
            let found = truncate(&logits, top_k, top_p);
            found.iter().map(|p| *p > 0.0).collect()
        };
        assert_eq!(kept(0, 0.75), [false, true, true, true]);
        assert_eq!(kept(3, 0.75), [false, false, true, true]);
        assert_eq!(kept(3, 0.8), [false, true, true, true]);
        assert_eq!(kept(0, 1e-6), [false, false, false, true]);
    }
}
