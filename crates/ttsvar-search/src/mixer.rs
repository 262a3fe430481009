//! Several scorers as one: the scores of each are brought to mean 0 and deviation 1, then their
//! weighted mean is taken.
//!
//! A scorer's mean and deviation are taken once a search, over the rows of the first scoring in
//! which its scores differ, and kept to its end; until then it counts nothing. So the numbers of a
//! search stay on one scale: histories (DIFF, MAX, SUM) add up, and what a row scores does not
//! depend on who is left beside it. `docs/trace.md` says why.

use serde::{Deserialize, Serialize};

use crate::{number, scorer::Scorer};

/// A scorer, the name that records have for it, and how much it counts.
#[derive(Clone, Copy)]
pub struct WeightedScorer<'a> {
    /// As it is typed; may be empty where there is no other.
    pub name: &'a str,
    /// Above 0. Only the share in the sum of all weights matters.
    pub weight: f64,
    /// Scores.
    pub scorer: &'a dyn Scorer,
}

/// What the scores of one scorer were brought from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardization {
    /// The scorer.
    pub scorer: String,
    /// How much it counts.
    pub weight: f64,
    /// Where mean and deviation were taken; none while all its scores were equal.
    pub taken: Option<Moments>,
}

/// Mean and deviation of some scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The scale after which the images were decoded.
    pub scale: usize,
    /// Images whose scores are numbers.
    pub rows: usize,
    /// Their mean.
    pub mean: f64,
    /// The root of their mean squared distance from it; above 0.
    pub deviation: f64,
}

/// What one of several scorers said of some images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The scorer.
    pub scorer: String,
    /// The scale after which the images were decoded.
    pub scale: usize,
    /// Whose images they are.
    pub ids: Vec<usize>,
    /// The scorer's own number for each id.
    #[serde(with = "number::list")]
    pub scores: Vec<f32>,
}

/// The scorers of a search on their way to one number.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreMixer {
    standards: Vec<Standardization>,
}

impl ScoreMixer {
    /// Nothing was scored yet.
    pub fn new(scorers: &[WeightedScorer]) -> Self {
        let standard = |one: &WeightedScorer| Standardization {
            scorer: one.name.to_owned(),
            weight: one.weight,
            taken: None,
        };
        Self {
            standards: scorers.iter().map(standard).collect(),
        }
    }

    /// What the scores were brought from.
    pub fn standards(&self) -> &[Standardization] {
        &self.standards
    }

    /// One number for each image of what the scorers said of them, `parts[scorer][image]`. A scorer
    /// alone is left as it is.
    pub fn mix(&mut self, scale: usize, parts: &[Vec<f32>]) -> Vec<f32> {
        if let [alone] = parts {
            return alone.clone();
        }
        for (standard, scores) in self.standards.iter_mut().zip(parts) {
            standard.taken = standard.taken.or_else(|| Moments::of(scale, scores));
        }
        let images = parts.iter().map(Vec::len).min().unwrap_or(0);
        let weights: f64 = self.standards.iter().map(|standard| standard.weight).sum();
        let number = |image: usize| {
            let each = self.standards.iter().zip(parts);
            let sum: f64 = each
                .map(|(standard, scores)| standard.weight * standard.of(scores[image]))
                .sum();
            (sum / weights) as f32
        };
        (0..images).map(number).collect()
    }
}

impl Standardization {
    /// A score on the common scale. What is no number stays none.
    fn of(&self, score: f32) -> f64 {
        match self.taken {
            _ if !score.is_finite() => f64::from(score),
            Some(Moments {
                mean, deviation, ..
            }) => (f64::from(score) - mean) / deviation,
            None => 0.0,
        }
    }
}

impl Moments {
    /// None where all scores are equal, but for rounding.
    fn of(scale: usize, scores: &[f32]) -> Option<Self> {
        let numbers: Vec<f64> = scores
            .iter()
            .filter(|score| score.is_finite())
            .map(|&score| f64::from(score))
            .collect();
        let rows = numbers.len();
        let mean = numbers.iter().sum::<f64>() / rows as f64;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let deviation = (squares / rows as f64).sqrt();
        const ROUNDING: f64 = 1e-6; // of scores in f32
        (deviation > ROUNDING * mean.abs()).then_some(Self {
            scale,
            rows,
            mean,
            deviation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Result};

    struct Nobody;

    impl Scorer for Nobody {
        fn score(&self, _: &str, _: &[Image]) -> Result<Vec<f32>> {
            Ok(vec![])
        }

        fn flops(&self, _: usize) -> f64 {
            0.0
        }
    }

    fn blend(weights: &[f64]) -> ScoreMixer {
        let names = ["a", "b", "c"];
        let one = |(&weight, name): (&f64, &'static str)| WeightedScorer {
            name,
            weight,
            scorer: &Nobody,
        };
        ScoreMixer::new(&weights.iter().zip(names).map(one).collect::<Vec<_>>())
    }

    #[test]
    fn a_scorer_alone_is_left_as_it_is() {
        let scores = vec![1.5, f32::NAN, -2.0];
        let mixed = blend(&[1.0]).mix(3, std::slice::from_ref(&scores));
        assert_eq!(mixed[..1], scores[..1]);
        assert!(mixed[1].is_nan());
    }

    #[test]
    fn units_do_not_matter_and_weights_are_shares() {
        let (small, large) = (vec![0.25, 0.27, 0.29, 0.31], vec![30.0, 10.0, 20.0, 40.0]);
        let mixed = blend(&[1.0, 3.0]).mix(4, &[small.clone(), large.clone()]);
        let other: Vec<f32> = large.iter().map(|score| 7.0 * score - 100.0).collect();
        for again in [
            blend(&[2.0, 6.0]).mix(4, &[small.clone(), large]),
            blend(&[1.0, 3.0]).mix(4, &[small, other]),
        ] {
            assert!(
                mixed.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-5),
                "{mixed:?} {again:?}"
            );
        }
        let unit = 1.0 / 1.25f32.sqrt(); // of four numbers at even distances
        let expected = [
            -1.5 + 3.0 * 0.5,
            -0.5 - 3.0 * 1.5,
            0.5 - 3.0 * 0.5,
            1.5 + 3.0 * 1.5,
        ];
        for (found, expected) in mixed.iter().zip(expected) {
            assert!((found - expected * unit / 4.0).abs() < 1e-4, "{mixed:?}");
        }
    }

    #[test]
    fn means_and_deviations_are_taken_once() {
        let mut blend = blend(&[1.0, 1.0]);
        assert_eq!(blend.mix(2, &[vec![1.0, 1.0], vec![5.0, 7.0]]), [-0.5, 0.5]);
        let taken = |blend: &ScoreMixer, i: usize| {
            blend.standards()[i]
                .taken
                .map(|taken| (taken.scale, taken.mean))
        };
        assert_eq!((taken(&blend, 0), taken(&blend, 1)), (None, Some((2, 6.0))));
        // Now the first one speaks too; what the second one's numbers mean is settled.
        assert_eq!(blend.mix(4, &[vec![0.0, 4.0], vec![10.0, 6.0]]), [1.5, 0.5]);
        assert_eq!(
            (taken(&blend, 0), taken(&blend, 1)),
            (Some((4, 2.0)), Some((2, 6.0)))
        );
        assert_eq!(blend.mix(6, &[vec![4.0], vec![7.0]]), [1.0]);
    }

    #[test]
    fn what_is_no_number_stays_none_and_spoils_nothing_else() {
        let mixed = blend(&[1.0, 1.0]).mix(
            0,
            &[vec![1.0, f32::NAN, 3.0], vec![1.0, 2.0, f32::NEG_INFINITY]],
        );
        assert_eq!(mixed[0], -1.0);
        assert!(mixed[1].is_nan() && mixed[2] == f32::NEG_INFINITY);
        let alone = blend(&[1.0, 1.0]).mix(0, &[vec![5.0], vec![f32::NAN]]);
        assert!(alone[0].is_nan());
        assert!(blend(&[1.0, 1.0]).mix(0, &[vec![], vec![]]).is_empty());
    }
}
