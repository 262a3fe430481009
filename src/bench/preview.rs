//! What smaller previews save and whether they rank candidates as full ones do.

use std::time::Instant;

use ttsvar_search::{DecodeSize, Prompt, ScoreMixer, Search, top::ranking};

use crate::{
    Result,
    eval::stats::{correlation, mean},
};

/// Previews of one size after one scale, held against images of full size.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// The scale, counted from 0.
    pub scale: usize,
    /// Pixels along the shorter side of the previews.
    pub pixels: usize,
    /// Spearman's rank correlation of the scores of the rows of one prompt, the mean over the
    /// prompts; `None` where all rows score alike.
    pub ranks: Option<f64>,
    /// Share of the prompts of which the same row is the best.
    pub same_best: f64,
    /// Seconds that decoding and scoring took, as a share of those for full size.
    pub cost: f64,
}

/// One look at the rows of one prompt.
struct Look {
    scores: Vec<f32>,
    seconds: f64,
}

/// Paints `rows` rows of every prompt and looks at them after every scale but the last, in full and
/// in each of `sizes`. `done` hears of every prompt.
///
/// # Errors
/// Whatever painting and scoring fail with.
pub fn agreement(
    search: &Search,
    prompts: &[Prompt],
    rows: usize,
    sizes: &[usize],
    seed: u64,
    mut done: impl FnMut(),
) -> Result<Vec<Agreement>> {
    let scales = search.pipeline.scales().len().saturating_sub(1);
    let mut looks: Vec<Vec<(Look, Look)>> = (0..scales * sizes.len()).map(|_| Vec::new()).collect();
    let all: Vec<usize> = (0..rows).collect();
    for (number, prompt) in prompts.iter().enumerate() {
        let mut rollout =
            search
                .pipeline
                .begin(prompt, 0..rows, seed.wrapping_add(number as u64))?;
        for scale in 0..scales {
            rollout.step()?;
            for (i, pixels) in sizes.iter().enumerate() {
                let look = |size| -> Result<Look> {
                    let began = Instant::now();
                    let parts = search.scores(&prompt.text, &rollout.images(&all, size)?)?;
                    let scores = ScoreMixer::new(&search.scorers).mix(scale, &parts);
                    Ok(Look {
                        scores,
                        seconds: began.elapsed().as_secs_f64(),
                    })
                };
                looks[scale * sizes.len() + i]
                    .push((look(DecodeSize::Preview(*pixels))?, look(DecodeSize::Full)?));
            }
        }
        done();
    }
    let of = |(at, looks): (usize, &Vec<(Look, Look)>)| {
        summary(at / sizes.len(), sizes[at % sizes.len()], looks)
    };
    Ok(looks.iter().enumerate().map(of).collect())
}

fn summary(scale: usize, pixels: usize, looks: &[(Look, Look)]) -> Agreement {
    let ranks = |(small, full): &(Look, Look)| {
        let pairs: Vec<(f64, f64)> = places(&small.scores)
            .into_iter()
            .zip(places(&full.scores))
            .collect();
        correlation(&pairs)
    };
    let same = |(small, full): &(Look, Look)| {
        f64::from(u8::from(
            ranking(&small.scores)[0] == ranking(&full.scores)[0],
        ))
    };
    let seconds = |of: fn(&(Look, Look)) -> f64| looks.iter().map(of).sum::<f64>();
    Agreement {
        scale,
        pixels,
        ranks: mean(looks.iter().filter_map(ranks)),
        same_best: mean(looks.iter().map(same)).unwrap_or(0.0),
        cost: seconds(|looks| looks.0.seconds) / seconds(|looks| looks.1.seconds),
    }
}

/// The place of every row among the others, 0 the best; rows that score alike share the mean of
/// their places.
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
    fn rows_that_score_alike_share_their_place() {
        assert_eq!(places(&[1.0, 3.0, 2.0]), [2.0, 0.0, 1.0]);
        assert_eq!(places(&[1.0, 2.0, 1.0, 1.0]), [2.0, 0.0, 2.0, 2.0]);
        assert_eq!(places(&[f32::NAN, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn the_same_order_agrees_and_the_opposite_does_not() {
        let look = |scores: [f32; 3], seconds| Look {
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
