//! Samples bits from logits (`infinity/models/infinity.py`,
//! `sample_with_top_k_top_p_also_inplace_modifying_logits_`).

use ttsvar_search::rng::Stream;

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

/// Probabilities of `logits` after truncation.
///
/// As in the original, values are removed whose cumulative probability, from the least likely value
/// upwards, is at most 1 - `top_p`. The most likely value is always kept, and so are values equal
/// to the least likely of the `top_k` kept.
pub fn truncate(logits: &[f32], top_k: usize, top_p: f32) -> Vec<f32> {
    let mut kept = logits.to_vec();
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    if top_k > 0 {
        let least = logits[order[kept.len() - top_k.min(kept.len())]];
        for value in kept.iter_mut().filter(|value| **value < least) {
            *value = f32::NEG_INFINITY;
        }
    }
    if top_p > 0.0 {
        let p = softmax(&kept);
        let mut sum = 0.0;
        for i in &order[..order.len() - 1] {
            sum += p[*i];
            if sum <= 1.0 - top_p {
                kept[*i] = f32::NEG_INFINITY;
            }
        }
    }
    softmax(&kept)
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|v| (v - top).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.iter().map(|p| p / total).collect()
}

/// Draws the bits of one candidate at one scale. `logits` holds two values per bit, for 0 and for
/// 1, already divided by the temperature.
pub fn draw_bits(logits: &[f32], sampling: &Sampling, stream: &mut Stream) -> Vec<u8> {
    let mut bits = Vec::with_capacity(logits.len() / 2);
    for pair in logits.chunks_exact(2) {
        // Draw a number even if truncation leaves one value: later bits must not depend on top_p.
        let coin = stream.uniform();
        let probabilities = truncate(pair, sampling.top_k, sampling.top_p);
        bits.push(u8::from(coin < probabilities[1]));
    }
    bits
}
