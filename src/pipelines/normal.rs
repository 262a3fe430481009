//! Normal numbers from the streams of candidates.

use std::f64::consts::TAU;

use ttsvar_search::rng::Stream;

/// Normal numbers from a stream, two from each pair of its numbers (Box and Muller).
pub(super) fn normal_numbers(stream: &mut Stream, count: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        let radius = (-2.0 * (1.0 - stream.uniform_f64()).ln()).sqrt();
        let angle = TAU * stream.uniform_f64();
        numbers.push((radius * angle.cos()) as f32);
        numbers.push((radius * angle.sin()) as f32);
    }
    numbers.truncate(count);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let numbers = normal_numbers(&mut Stream::select(1, 0, 0), 20_001);
        let mean = numbers.iter().sum::<f32>() / 20_001.0;
        let variance = numbers.iter().map(|x| x * x).sum::<f32>() / 20_001.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04);
    }
}
