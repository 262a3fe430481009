//! Softmax over scores that come in parts, so that no row of scores need be held whole (Milakov and
//! Gimelshein 2018).

use super::{
    elementary::exp,
    simd::{Kernel, Lanes, RUNNING_STEP, Running, dispatch},
};

/// The state of one row after some of its scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningSoftmax {
    top: f32,
    total: f32,
}

impl RunningSoftmax {
    /// Before the first score.
    pub const NEW: Self = Self {
        top: f32::NEG_INFINITY,
        total: 0.0,
    };

    /// Turns the next scores into weights, `exp(scale * score + bias - top)`. Returns the factor by
    /// which sums over the weights of earlier parts must shrink, since the top may have risen.
    pub fn weigh(&mut self, scores: &mut [f32], scale: f32, bias: Option<&[f32]>) -> f32 {
        let before = *self;
        *self = dispatch(Weigh {
            scores,
            scale,
            bias,
            before,
        });
        before.shrunk_to(self.top)
    }

    /// The factor for sums over all weights in the end.
    pub fn inverse(self) -> f32 {
        self.total.recip()
    }

    /// The factor for earlier weights once the maximum has risen to `top`.
    fn shrunk_to(self, top: f32) -> f32 {
        if self.total == 0.0 {
            0.0
        } else {
            (self.top - top).exp()
        }
    }
}

struct Weigh<'a> {
    scores: &'a mut [f32],
    scale: f32,
    bias: Option<&'a [f32]>,
    before: RunningSoftmax,
}

impl Kernel for Weigh<'_> {
    type Output = RunningSoftmax;

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) -> RunningSoftmax {
        let Self {
            scores,
            scale,
            bias,
            before,
        } = self;
        match bias {
            Some(bias) => scores
                .iter_mut()
                .zip(bias)
                .for_each(|(v, b)| *v = *v * scale + b),
            None if scale == 1.0 => {}
            None => scores.iter_mut().for_each(|v| *v *= scale),
        }
        let mut top = Running::<L>::new(simd, f32::NEG_INFINITY);
        for part in scores.chunks(RUNNING_STEP) {
            top.update(part, f32::NEG_INFINITY, |top, v| v.at_least(top));
        }
        let top = before.top.max(top.fold(f32::max));
        // Where everything so far is masked, any finite number serves.
        let below = L::splat(simd, if top == f32::NEG_INFINITY { 0.0 } else { top });
        let mut total = Running::<L>::new(simd, 0.0);
        let (whole, rest) = scores.as_chunks_mut::<{ RUNNING_STEP }>();
        for part in whole {
            for (total, part) in total.0.iter_mut().zip(part.chunks_exact_mut(L::COUNT)) {
                let power = exp(L::load(simd, part).sub(below));
                *total = total.add(power);
                power.store(part);
            }
        }
        for (total, part) in total.0.iter_mut().zip(rest.chunks_mut(L::COUNT)) {
            let power = exp(L::load_rest(simd, part, f32::NEG_INFINITY).sub(below));
            *total = total.add(power);
            power.store_rest(part);
        }
        RunningSoftmax {
            top,
            total: before.total * before.shrunk_to(top) + total.fold(|a, b| a + b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::cpu::simd::in_all_versions;

    /// The softmax of a row that comes in parts of `step` scores, with scale 0.5.
    struct InParts(Vec<f32>, usize);

    impl Kernel for InParts {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Vec<f32> {
            let mut state = RunningSoftmax::NEW;
            let mut done = Vec::new();
            for part in self.0.chunks(self.1) {
                let mut scores = part.to_vec();
                let before = state;
                state = Weigh {
                    scores: &mut scores,
                    scale: 0.5,
                    bias: None,
                    before,
                }
                .run::<L>(simd);
                done.iter_mut()
                    .for_each(|weight| *weight *= before.shrunk_to(state.top));
                done.extend(scores);
            }
            done.iter().map(|weight| weight * state.inverse()).collect()
        }
    }

    #[test]
    fn parts_give_what_the_definition_gives_for_odd_lengths() {
        for length in [1, 7, 8, 9, 33, 155] {
            let row: Vec<f32> = (0..length).map(|i| (i as f32 * 1.7).sin() * 30.0).collect();
            let powers: Vec<f64> = row.iter().map(|v| (f64::from(*v) * 0.5).exp()).collect();
            let total: f64 = powers.iter().sum();
            for step in [length, 1, 20] {
                for found in in_all_versions(|| InParts(row.clone(), step)) {
                    for (found, power) in found.iter().zip(&powers) {
                        assert!(
                            (f64::from(*found) - power / total).abs() < 1e-6,
                            "{length} by {step}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn nan_is_passed_on_and_what_is_masked_left_out() {
        let masked = f32::NEG_INFINITY;
        for step in [1, 3] {
            for found in in_all_versions(|| InParts(vec![masked, 1.0, masked, 1.0], step)) {
                assert_eq!(found, [0.0, 0.5, 0.0, 0.5]);
            }
        }
        for found in in_all_versions(|| InParts([&[f32::NAN][..], &[1.0; 20]].concat(), 4)) {
            assert!(found.iter().any(|v| v.is_nan()));
        }
    }
}
