//! Combines several scorers: the scores of each are standardized to mean 0 and standard deviation
//! 1, then averaged by weight.
//!
//! The mean and the standard deviation of a scorer are computed once per search, over the rows of
//! the first scoring in which its scores differ, and kept until the end; before that its scores
//! count as 0. All scores of a search are therefore comparable: histories (DIFF, MAX, SUM) are
//! consistent, and the score of a row does not depend on which other rows remain. `docs/trace.md`
//! explains the choice.

use serde::{Deserialize, Serialize};

use crate::{number, scorer::Scorer};

/// A scorer with its name in records and its weight.
#[derive(Clone, Copy)]
pub struct WeightedScorer<'a> {
    /// The name of the scorer; may be empty if it is the only one.
    pub name: &'a str,
    /// The weight, above 0. Only its share in the sum of all weights matters.
    pub weight: f64,
    /// The scorer.
    pub scorer: &'a dyn Scorer,
}

/// The standardization of the scores of one scorer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standardization {
    /// The scorer.
    pub scorer: String,
    /// Its weight.
    pub weight: f64,
    /// The mean and standard deviation in use; none while all of its scores were equal.
    pub taken: Option<Moments>,
}

/// Mean and standard deviation of the scores of one scoring.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The scale after which the images were decoded.
    pub scale: usize,
    /// The number of images whose scores are finite.
    pub rows: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (population); above 0.
    pub deviation: f64,
}

/// The scores that one of several scorers gave in one scoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The scorer.
    pub scorer: String,
    /// The scale after which the images were decoded.
    pub scale: usize,
    /// The candidates of the images.
    pub ids: Vec<usize>,
    /// The scorer's score for each id, not standardized.
    #[serde(with = "number::list")]
    pub scores: Vec<f32>,
}

/// Combines the scores of all scorers of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreMixer {
    standards: Vec<Standardization>,
}

impl ScoreMixer {
    /// A mixer that has seen no scores yet.
    pub fn new(scorers: &[WeightedScorer]) -> Self {
        let standard = |weighted: &WeightedScorer| Standardization {
            scorer: weighted.name.to_owned(),
            weight: weighted.weight,
            taken: None,
        };
        Self {
            standards: scorers.iter().map(standard).collect(),
        }
    }

    /// The standardization of each scorer.
    pub fn standards(&self) -> &[Standardization] {
        &self.standards
    }

    /// The combined score of each image, from the scores `parts[scorer][image]`. The scores of a
    /// single scorer are returned unchanged.
    pub fn mix(&mut self, scale: usize, parts: &[Vec<f32>]) -> Vec<f32> {
        if let [single] = parts {
            return single.clone();
        }
        for (standard, scores) in self.standards.iter_mut().zip(parts) {
            standard.taken = standard
                .taken
                .or_else(|| Moments::from_scores(scale, scores));
        }
        let images = parts.iter().map(Vec::len).min().unwrap_or(0);
        (0..images).map(|image| self.mean(image, parts)).collect()
    }

    /// The weighted mean of the standardized scores of one image.
    fn mean(&self, image: usize, parts: &[Vec<f32>]) -> f32 {
        let weights: f64 = self.standards.iter().map(|standard| standard.weight).sum();
        let standards = self.standards.iter().zip(parts);
        let sum: f64 = standards
            .map(|(standard, scores)| standard.weight * standard.standardize(scores[image]))
            .sum();
        (sum / weights) as f32
    }
}

impl Standardization {
    /// A score on the common scale. NaN and infinite scores are unchanged.
    fn standardize(&self, score: f32) -> f64 {
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
    /// The moments of the finite scores; none if these are all equal, except for rounding errors.
    fn from_scores(scale: usize, scores: &[f32]) -> Option<Self> {
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

    struct NoScorer;

    impl Scorer for NoScorer {
        fn score(&self, _: &str, _: &[Image]) -> Result<Vec<f32>> {
            Ok(vec![])
        }

        fn flops(&self, _: usize) -> f64 {
            0.0
        }
    }

    fn mixer(weights: &[f64]) -> ScoreMixer {
        let names = ["a", "b", "c"];
        let weighted = |(&weight, name): (&f64, &'static str)| WeightedScorer {
            name,
            weight,
            scorer: &NoScorer,
        };
        ScoreMixer::new(&weights.iter().zip(names).map(weighted).collect::<Vec<_>>())
    }

    #[test]
    fn the_scores_of_a_single_scorer_are_unchanged() {
        let scores = vec![1.5, f32::NAN, -2.0];
        let mixed = mixer(&[1.0]).mix(3, std::slice::from_ref(&scores));
        assert_eq!(mixed[..1], scores[..1]);
        assert!(mixed[1].is_nan());
    }

    #[test]
    fn units_do_not_matter_and_weights_are_shares() {
        let small = vec![0.25, 0.27, 0.29, 0.31];
        let large = vec![30.0, 10.0, 20.0, 40.0];
        let mixed = mixer(&[1.0, 3.0]).mix(4, &[small.clone(), large.clone()]);
        let other: Vec<f32> = large.iter().map(|score| 7.0 * score - 100.0).collect();
        for again in [
            mixer(&[2.0, 6.0]).mix(4, &[small.clone(), large]),
            mixer(&[1.0, 3.0]).mix(4, &[small, other]),
        ] {
            assert!(
                mixed.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-5),
                "{mixed:?} {again:?}"
            );
        }
        let unit = 1.0 / 1.25f32.sqrt(); // of four equally spaced numbers
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
    fn means_and_standard_deviations_are_computed_once() {
        let mut mixer = mixer(&[1.0, 1.0]);
        assert_eq!(mixer.mix(2, &[vec![1.0, 1.0], vec![5.0, 7.0]]), [-0.5, 0.5]);
        let taken = |mixer: &ScoreMixer, i: usize| {
            mixer.standards()[i]
                .taken
                .map(|taken| (taken.scale, taken.mean))
        };
        assert_eq!((taken(&mixer, 0), taken(&mixer, 1)), (None, Some((2, 6.0))));
        // Now the scores of the first scorer differ too; the moments of the second one are kept.
        assert_eq!(mixer.mix(4, &[vec![0.0, 4.0], vec![10.0, 6.0]]), [1.5, 0.5]);
        assert_eq!(
            (taken(&mixer, 0), taken(&mixer, 1)),
            (Some((4, 2.0)), Some((2, 6.0)))
        );
        assert_eq!(mixer.mix(6, &[vec![4.0], vec![7.0]]), [1.0]);
    }

    #[test]
    fn scores_that_are_not_finite_stay_so_and_affect_no_others() {
        let mixed = mixer(&[1.0, 1.0]).mix(
            0,
            &[vec![1.0, f32::NAN, 3.0], vec![1.0, 2.0, f32::NEG_INFINITY]],
        );
        assert_eq!(mixed[0], -1.0);
        assert!(mixed[1].is_nan() && mixed[2] == f32::NEG_INFINITY);
        let alone = mixer(&[1.0, 1.0]).mix(0, &[vec![5.0], vec![f32::NAN]]);
        assert!(alone[0].is_nan());
        assert!(mixer(&[1.0, 1.0]).mix(0, &[vec![], vec![]]).is_empty());
    }
}
