//! Samples codes of a codebook from logits (`models/helpers.py`, `sample_with_top_k_top_p_` and
//! `gumbel_softmax_with_rng`).

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use ttsvar_search::rng::Stream;

use super::truncation::{DrawSums, softmax, truncate_logits};
use crate::{
    Error, Result,
    models::vq_vae::{Decoder, Quantizer},
};

/// Settings of sampling at one scale. Logits are divided by the temperature before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Keep the most likely tokens up to this total probability; 0 keeps all.
    pub top_p: f32,
    /// Keep this many most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// For mixtures of codes beside drawn ones (`more_smooth`).
    pub smooth: Option<Smooth>,
}

/// How codes are mixed by the Gumbel softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smooth {
    /// Factor of the logits.
    pub factor: f32,
    /// Temperature.
    pub tau: f32,
}

impl Smooth {
    /// At the position of a scale between the first, 0, and the last, 1: the temperature falls.
    pub fn at(position: f64) -> Self {
        Self {
            factor: (1.0 + position) as f32,
            tau: (0.27 * (1.0 - position * 0.95)).max(0.005) as f32,
        }
    }
}

/// The position of a scale between the first, 0, and the last, 1.
pub(super) fn position(scale: usize, scales: usize) -> f64 {
    match scales {
        0 | 1 => 0.0,
        _ => scale as f64 / (scales - 1) as f64,
    }
}

/// Checks that the parts of a tokenizer have the numbers of codes, and of values of a code, that a
/// transformer draws.
///
/// # Errors
/// They have others.
pub(super) fn check_tokenizer(
    [codes, values]: [usize; 2],
    quantizer: &Quantizer,
    decoder: &Decoder,
) -> Result<()> {
    let [found_codes, found_values] = [quantizer.vocabulary(), quantizer.channels()];
    let channels = decoder.latent_channels();
    if (found_codes, found_values, channels) == (codes, values, values) {
        return Ok(());
    }
    Err(Error::input(format!(
        "the transformer has {codes} codes of {values} values, \
         the tokenizer {found_codes} of {found_values}"
    ))
    .with_hint("use the tokenizer that was released with the transformer"))
}

/// What was drawn for the tokens of a scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// One id per token.
    pub ids: Vec<u32>,
    /// If codes are mixed, one mixture per token: probabilities of all codes, (L, V) flattened.
    pub mixtures: Option<Vec<f32>>,
}

impl Drawn {
    /// Ids alone.
    pub fn ids(ids: Vec<u32>) -> Self {
        Self {
            ids,
            mixtures: None,
        }
    }

    /// The codes, or their mixtures, as a map over `grid`: (1, d, rows, columns)
    ///
    /// # Errors
    /// The grid has another number of tokens.
    pub(super) fn map(&self, quantizer: &Quantizer, grid: (usize, usize)) -> Result<Tensor> {
        let Some(mixtures) = &self.mixtures else {
            return Ok(quantizer.codes(&self.ids, grid)?);
        };
        let shape = (grid.0 * grid.1, quantizer.vocabulary());
        let mixtures = Tensor::from_slice(mixtures, shape, &Device::Cpu)?;
        Ok(quantizer.mixed_codes(&mixtures, grid)?)
    }
}

/// Draws the tokens of one candidate at one scale from its logits, (L, V) flattened.
pub fn draw_tokens(
    logits: &[f32],
    vocabulary: usize,
    sampling: &Sampling,
    stream: &mut Stream,
) -> Drawn {
    draw_tokens_noting(logits, vocabulary, sampling, stream, None)
}

/// [`draw_tokens`], which adds to `sums` what the draws say of the distributions.
pub(super) fn draw_tokens_noting(
    logits: &[f32],
    vocabulary: usize,
    sampling: &Sampling,
    stream: &mut Stream,
    sums: Option<&mut DrawSums>,
) -> Drawn {
    let tokens = logits.len() / vocabulary;
    let coins: Vec<f32> = (0..tokens).map(|_| stream.uniform()).collect();
    let noted = sums.is_some();
    let draw = |(logits, coin): (&[f32], &f32)| {
        let mut kept = logits.to_vec();
        truncate_logits(&mut kept, sampling.top_k, sampling.top_p);
        let probabilities = softmax(&kept);
        let id = pick(&probabilities, *coin);
        let mut sums = DrawSums::default();
        if noted {
            sums.add(&probabilities, id);
        }
        (id as u32, sums)
    };
    let rows = logits.par_chunks(vocabulary).zip(&coins);
    let drawn: Vec<(u32, DrawSums)> = rows.map(draw).collect();
    if let Some(sums) = sums {
        drawn
            .iter()
            .for_each(|(_, of_token)| sums.add_all(of_token));
    }
    let mixtures = sampling
        .smooth
        .map(|smooth| mix(logits, vocabulary, sampling, smooth, stream));
    Drawn {
        ids: drawn.into_iter().map(|(id, _)| id).collect(),
        mixtures,
    }
}

/// The first value at which the sum of probabilities exceeds `coin`, from [0, 1). Values of
/// probability 0 are never taken.
fn pick(probabilities: &[f32], coin: f32) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (i, p) in probabilities.iter().enumerate() {
        if *p > 0.0 {
            sum += p;
            last = i;
            if coin < sum {
                break;
            }
        }
    }
    last // rounding may leave the sum below the coin
}

/// Mixtures for all tokens.
fn mix(
    logits: &[f32],
    vocabulary: usize,
    sampling: &Sampling,
    smooth: Smooth,
    stream: &mut Stream,
) -> Vec<f32> {
    let mut mixed: Vec<f32> = logits.iter().map(|_| gumbel(stream)).collect();
    let rows = mixed
        .par_chunks_mut(vocabulary)
        .zip(logits.par_chunks(vocabulary));
    rows.for_each(|(mixed, logits)| {
        let mixture = code_mixture(logits, mixed, sampling, smooth);
        mixed.copy_from_slice(&mixture);
    });
    mixed
}

/// The mixture for one token by the Gumbel softmax of its truncated logits.
pub fn code_mixture(
    logits: &[f32],
    gumbel: &[f32],
    sampling: &Sampling,
    smooth: Smooth,
) -> Vec<f32> {
    let mut kept = logits.to_vec();
    truncate_logits(&mut kept, sampling.top_k, sampling.top_p);
    for (kept, gumbel) in kept.iter_mut().zip(gumbel) {
        *kept = (*kept * smooth.factor + gumbel) / smooth.tau;
    }
    softmax(&kept)
}

/// A number of the standard Gumbel distribution: minus the logarithm of one of the exponential.
fn gumbel(stream: &mut Stream) -> f32 {
    let exponential = -(1.0 - stream.uniform()).ln();
    -exponential.max(f32::MIN_POSITIVE).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sampling = Sampling {
        top_p: 0.0,
        top_k: 0,
        smooth: None,
    };

    fn ids(drawn: Drawn) -> Vec<u32> {
        assert_eq!(drawn.mixtures, None);
        drawn.ids
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        let probabilities = [0.1f32, 0.0, 0.6, 0.3];
        let tokens = 20_000;
        let logits = probabilities.map(f32::ln).repeat(tokens);
        let mut sums = DrawSums::default();
        let mut stream = Stream::select(1, 0, 0);
        let drawn = draw_tokens_noting(&logits, 4, &ALL, &mut stream, Some(&mut sums));
        let mut counts = [0; 4];
        ids(drawn).iter().for_each(|id| counts[*id as usize] += 1);
        for (count, p) in counts.iter().zip(probabilities) {
            let share = *count as f32 / tokens as f32;
            assert!((share - p).abs() < 0.02, "{counts:?}");
        }
        // 0.1, 0.6 and 0.3: 1.2955 bits.
        assert!((sums.means(0).entropy - 1.2955).abs() < 1e-3);
    }

    #[test]
    fn truncation_does_not_change_which_number_a_later_token_takes() {
        let flat = vec![0.0; 8 * 50];
        let draw = |top_k: usize, smooth: Option<Smooth>| {
            let sampling = Sampling {
                top_k,
                smooth,
                ..ALL
            };
            draw_tokens(&flat, 8, &sampling, &mut Stream::select(2, 0, 0))
        };
        // Equal values are all kept, whatever top-k is.
        assert_eq!(draw(0, None), draw(1, None));
        let smooth = Some(Smooth::at(0.5));
        assert_eq!(draw(3, smooth), draw(0, smooth));
    }

    #[test]
    fn mixtures_have_only_kept_codes_and_sharpen_towards_the_last_scale() {
        let logits: Vec<f32> = (0..64 * 16).map(|i| (i * 7 % 16) as f32 * 0.3).collect();
        let largest = |position: f64| {
            let sampling = Sampling {
                top_k: 5,
                top_p: 0.0,
                smooth: Some(Smooth::at(position)),
            };
            let mut stream = Stream::select(3, 0, 0);
            let drawn = draw_tokens(&logits, 16, &sampling, &mut stream);
            let mixed = drawn.mixtures.expect("mixtures");
            let mut sum = 0.0;
            for row in mixed.chunks(16) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                assert!(row.iter().filter(|p| **p > 0.0).count() <= 5);
                sum += row.iter().copied().fold(0.0, f32::max);
            }
            sum / 64.0
        };
        assert!(largest(0.0) < largest(1.0));
        assert!(largest(1.0) > 0.95);
    }
}
