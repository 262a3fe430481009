//! From logits to bits (`infinity/models/infinity.py`,
//! `sample_with_top_k_top_p_also_inplace_modifying_logits_`).

use ttsvar_search::rng::Stream;

/// How bits are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Temperature; logits are multiplied by its inverse. Greater than 0.
    pub tau: f32,
    /// Keep the most likely values until they hold this probability; 0 keeps all.
    pub top_p: f32,
    /// Keep this many most likely values; 0 keeps all. Of the two values of a bit only 1 removes
    /// anything.
    pub top_k: usize,
}

/// Probabilities of `logits` after truncation.
///
/// As in the original, values are removed whose likelihoods, summed upwards from the least likely,
/// stay at or below 1 - `top_p`; the most likely value always stays, and so do values equal to the
/// least of the `top_k` kept.
pub fn truncate(logits: &[f32], top_k: usize, top_p: f32) -> Vec<f32> {
    let mut kept = logits.to_vec();
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    if top_k > 0 {
        let least = logits[order[kept.len() - top_k.min(kept.len())]];
        kept.iter_mut()
            .filter(|v| **v < least)
            .for_each(|v| *v = f32::NEG_INFINITY);
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

/// Draws one candidate's bits of one scale: `logits` holds two values a bit, for 0 and for 1,
/// already divided by the temperature.
pub fn draw_bits(logits: &[f32], sampling: &Sampling, stream: &mut Stream) -> Vec<u8> {
    let one = |pair: &[f32]| {
        // Drawn even for a certain bit, so that later bits do not depend on top_p
        let coin = stream.uniform();
        u8::from(coin < truncate(pair, sampling.top_k, sampling.top_p)[1])
    };
    logits.chunks_exact(2).map(one).collect()
}
