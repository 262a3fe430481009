//! Time saved by smaller previews, and their agreement with full-size ones.

use std::time::Instant;

use ttsvar_search::{DecodeSize, Prompt, ScoreMixer, Search, top::ranking};

use crate::{
    Result,
    eval::stats::{correlation, mean},
};

/// Previews of one size after one scale, compared with full-size images.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// The scale, counted from 0.
    pub scale: usize,
    /// Pixels along the shorter side of the previews.
    pub pixels: usize,
    /// Spearman's rank correlation of the scores of the rows of one prompt, averaged over the
    /// prompts; `None` if all rows have the same score.
    pub ranks: Option<f64>,
    /// Share of the prompts for which the same row is the best.
    pub same_best: f64,
    /// Time for decoding and scoring, as a share of that for full size.
    pub cost: f64,
}

/// The scores of the rows of one prompt.
struct ScoredPreviews {
    scores: Vec<f32>,
    seconds: f64,
}

/// Generates `rows` rows of every prompt and scores them after every scale but the last, in full
/// size and in each of `sizes`. `done` is called after every prompt.
///
/// # Errors
/// Generating or scoring fails.
pub fn agreement(
    search: &Search,
    prompts: &[Prompt],
    rows: usize,
    sizes: &[usize],
    seed: u64,
    mut done: impl FnMut(),
) -> Result<Vec<Agreement>> {
    let scales = search.pipeline.scales().len().saturating_sub(1);
    let mut pairs: Vec<Vec<(ScoredPreviews, ScoredPreviews)>> =
        (0..scales * sizes.len()).map(|_| Vec::new()).collect();
    let all: Vec<usize> = (0..rows).collect();
    for (number, prompt) in prompts.iter().enumerate() {
        let mut rollout =
            search
                .pipeline
                .begin(prompt, 0..rows, seed.wrapping_add(number as u64))?;
        for scale in 0..scales {
            rollout.step()?;
            for (i, pixels) in sizes.iter().enumerate() {
                let score = |size| -> Result<ScoredPreviews> {
                    let began = Instant::now();
                    let parts = search.scores(&prompt.text, &rollout.images(&all, size)?)?;
                    let scores = ScoreMixer::new(&search.scorers).mix(scale, &parts);
                    Ok(ScoredPreviews {
                        scores,
                        seconds: began.elapsed().as_secs_f64(),
                    })
                };
                pairs[scale * sizes.len() + i].push((
                    score(DecodeSize::Preview(*pixels))?,
                    score(DecodeSize::Full)?,
                ));
            }
        }
        done();
    }
    let mut agreements = vec![];
    for (i, pairs) in pairs.iter().enumerate() {
        let scale = i / sizes.len();
        agreements.push(summary(scale, sizes[i % sizes.len()], pairs));
    }
    Ok(agreements)
}

fn summary(scale: usize, pixels: usize, pairs: &[(ScoredPreviews, ScoredPreviews)]) -> Agreement {
    let ranks = |(small, full): &(ScoredPreviews, ScoredPreviews)| {
        let pairs: Vec<(f64, f64)> = places(&small.scores)
            .into_iter()
            .zip(places(&full.scores))
            .collect();
        correlation(&pairs)
    };
    let same = |(small, full): &(ScoredPreviews, ScoredPreviews)| {
        f64::from(u8::from(
            ranking(&small.scores)[0] == ranking(&full.scores)[0],
        ))
    };
    let small: f64 = pairs.iter().map(|(small, _)| small.seconds).sum();
    let full: f64 = pairs.iter().map(|(_, full)| full.seconds).sum();
    Agreement {
        scale,
        pixels,
        ranks: mean(pairs.iter().filter_map(ranks)),
        same_best: mean(pairs.iter().map(same)).unwrap_or(0.0),
        cost: small / full,
    }
}

/// The rank of every row, starting with 0 for the best; rows with the same score share their mean
/// rank.
fn places(scores: &[f32]) -> Vec<f64> {
    let order = ranking(scores);
    let mut places = vec![0.0; scores.len()];
    let mut first = 0;
    while first < order.len() {
        let alike = order[first..]
            .iter()
            .take_while(|row| scores[**row] == scores[order[first]])
            .count()
            .max(1);
        for row in &order[first..first + alike] {
            places[*row] = first as f64 + (alike - 1) as f64 / 2.0;
        }
        first += alike;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_equal_scores_share_their_rank() {
        assert_eq!(places(&[1.0, 3.0, 2.0]), [2.0, 0.0, 1.0]);
        assert_eq!(places(&[1.0, 2.0, 1.0, 1.0]), [2.0, 0.0, 2.0, 2.0]);
        assert_eq!(places(&[f32::NAN, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn the_same_order_agrees_and_the_opposite_does_not() {
        let look = |scores: [f32; 3], seconds| ScoredPreviews {
            scores: scores.to_vec(),
            seconds,
        };
        let same = [(look([1.0, 2.0, 3.0], 1.0), look([10.0, 20.0, 90.0], 4.0))];
        let found = summary(2, 32, &same);
        assert_eq!(
            found,
            Agreement {
                scale: 2,
                pixels: 32,
                ranks: Some(1.0),
                same_best: 1.0,
                cost: 0.25
            }
        );
        let opposite = [(look([1.0, 2.0, 3.0], 1.0), look([3.0, 2.0, 1.0], 1.0))];
        let found = summary(0, 16, &opposite);
        assert!((found.ranks.unwrap() + 1.0).abs() < 1e-12 && found.same_best == 0.0);
    }
}
