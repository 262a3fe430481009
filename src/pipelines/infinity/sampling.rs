//! Samples bits from logits (`infinity/models/infinity.py`,
//! `sample_with_top_k_top_p_also_inplace_modifying_logits_`).

use ttsvar_search::rng::Stream;

use crate::pipelines::truncate;

/// Settings of sampling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Temperature; logits are multiplied by its inverse. Greater than 0.
    pub tau: f32,
    /// Keep the most likely values until they hold this probability; 0 keeps all.
    pub top_p: f32,
    /// Keep this many most likely values; 0 keeps all. A bit has two values, so only 1 removes
    /// any.
    pub top_k: usize,
}

/// Draws the bits of one candidate at one scale. `logits` holds two values per bit, for 0 and for
/// 1, already divided by the temperature.
pub fn draw_bits(logits: &[f32], sampling: &Sampling, stream: &mut Stream) -> Vec<u8> {
    draw_bits_noting(logits, sampling, stream, |_, _| ())
}

/// [`draw_bits`], which passes the probabilities of every draw and the drawn bit to `note`.
pub(super) fn draw_bits_noting(
    logits: &[f32],
    sampling: &Sampling,
    stream: &mut Stream,
    mut note: impl FnMut(&[f32], u8),
) -> Vec<u8> {
    let mut bits = Vec::with_capacity(logits.len() / 2);
    for pair in logits.chunks_exact(2) {
        // Draw a number even if truncation leaves one value: later bits must not depend on top_p.
        let coin = stream.uniform();
        let probabilities = truncate(pair, sampling.top_k, sampling.top_p);
        let bit = u8::from(coin < probabilities[1]);
        note(&probabilities, bit);
        bits.push(bit);
    }
    bits
}

#[cfg(test)]
mod tests {
    use ttsvar_search::TokenStatistics;

    use super::*;
    use crate::pipelines::truncation::DrawSums;

    /// Draws from `logits`, which are divided by `tau` first.
    fn statistics(logits: &[f32], tau: f32, top_p: f32) -> (Vec<u8>, TokenStatistics) {
        let logits: Vec<f32> = logits.iter().map(|logit| logit / tau).collect();
        let sampling = Sampling {
            tau,
            top_p,
            top_k: 0,
        };
        let mut sums = DrawSums::default();
        let mut stream = Stream::select(1, 0, 0);
        let bits = draw_bits_noting(&logits, &sampling, &mut stream, |p, bit| {
            sums.add(p, usize::from(bit));
        });
        (bits, sums.means(3))
    }

    #[test]
    fn statistics_are_those_of_the_distribution_that_was_sampled() {
        // Probabilities 1/2 and 1/2, 1/4 and 3/4: 1 and 0.8113 bits.
        let logits = [0.0, 0.0, 0.0, 3f32.ln()];
        let (bits, found) = statistics(&logits, 1.0, 0.0);
        assert!(
            (found.entropy - (1.0 + 0.811_278) / 2.0).abs() < 1e-5,
            "{found:?}"
        );
        let drawn: f32 = if bits[1] == 1 { 0.75 } else { 0.25 };
        let expected = (0.5f32.ln() + drawn.ln()) / 2.0;
        assert!((found.log_likelihood - expected).abs() < 1e-6, "{found:?}");
        assert_eq!(found.scale, 3);
        // At temperature 0.5 the second draw has 1/10 and 9/10: 0.4690 bits.
        let (_, found) = statistics(&logits, 0.5, 0.0);
        assert!(
            (found.entropy - (1.0 + 0.468_996) / 2.0).abs() < 1e-5,
            "{found:?}"
        );
        // Top-p 0.75 removes the value with 1/4, and nothing of equal values.
        let (bits, found) = statistics(&logits[2..], 1.0, 0.75);
        assert_eq!(
            (bits, found.entropy, found.log_likelihood),
            (vec![1], 0.0, 0.0)
        );
    }

    #[test]
    fn nothing_is_uncertain_near_temperature_0() {
        let (bits, found) = statistics(&[0.1, 0.2, 3.0, -1.0, -0.5, 0.5], 1e-6, 0.0);
        assert_eq!(bits, [1, 0, 1]);
        assert_eq!((found.entropy, found.log_likelihood), (0.0, 0.0));
    }
}
