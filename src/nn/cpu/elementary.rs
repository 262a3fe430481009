//! Elementary functions of whole vectors, and rows of values mapped by them.

use super::simd::{Kernel, Lanes, dispatch};

/// `e^x`, within 2 ulp; 0 and infinity beyond the range of f32, NaN stays.
#[inline(always)]
pub(super) fn exp<L: Lanes>(x: L) -> L {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves no fraction
    // The first has few bits, so that products with n are exact
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    // Cephes, expf: (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2
    const TERMS: [f32; 5] = [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let simd = x.detected();
    let x = x
        .at_least(L::splat(simd, -104.0))
        .at_most(L::splat(simd, 89.0));
    let n = x
        .mul_add(
            L::splat(simd, std::f32::consts::LOG2_E),
            L::splat(simd, ROUND),
        )
        .sub(L::splat(simd, ROUND));
    let r = n.mul_add(L::splat(simd, -LN_2.0), x);
    let r = n.mul_add(L::splat(simd, -LN_2.1), r);
    let mut p = L::splat(simd, 1.987_569_2e-4);
    for term in TERMS {
        p = p.mul_add(r, L::splat(simd, term));
    }
    p.mul_add(r.mul(r), r)
        .add(L::splat(simd, 1.0))
        .times_two_to(n)
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(crate) fn sigmoid<L: Lanes>(x: L) -> L {
    let simd = x.detected();
    let unit = L::splat(simd, 1.0);
    let zero = L::splat(simd, 0.0);
    unit.div(unit.add(exp(zero.sub(x))))
}

/// The error function by the ratio of two polynomials that Eigen uses for f32; within 4e-7.
#[inline(always)]
pub(crate) fn erf<L: Lanes>(x: L) -> L {
    const ALPHA: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BETA: [f32; 5] = [
        -1.456_607_2e-5,
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ];
    let simd = x.detected();
    let x = x
        .at_least(L::splat(simd, -4.0))
        .at_most(L::splat(simd, 4.0)); // erf(4) is 1 in f32
    let square = x.mul(x);
    let mut above = L::splat(simd, ALPHA[0]);
    let mut below = L::splat(simd, BETA[0]);
    for term in &ALPHA[1..] {
        above = above.mul_add(square, L::splat(simd, *term));
    }
    for term in &BETA[1..] {
        below = below.mul_add(square, L::splat(simd, *term));
    }
    x.mul(above)
        .div(below)
        .at_least(L::splat(simd, -1.0))
        .at_most(L::splat(simd, 1.0))
}

/// A function of one vector.
pub(crate) trait Map {
    /// Implementations must be `#[inline(always)]`.
    fn map<L: Lanes>(&self, x: L) -> L;
}

/// Replaces each value by `f` of it; a value's result does not depend on where it stands.
pub(crate) fn map(values: &mut [f32], f: impl Map) {
    dispatch(MapKernel { values, f });
}

struct MapKernel<'a, F> {
    values: &'a mut [f32],
    f: F,
}

impl<F: Map> Kernel for MapKernel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        let mut vectors = self.values.chunks_exact_mut(L::COUNT);
        for values in &mut vectors {
            self.f.map(L::load(simd, values)).store(values);
        }
        let rest = vectors.into_remainder();
        if !rest.is_empty() {
            self.f.map(L::load_some(simd, rest, 0.0)).store_some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::cpu::simd::in_all_versions;

    struct Exp;

    impl Map for Exp {
        #[inline(always)]
        fn map<L: Lanes>(&self, x: L) -> L {
            exp(x)
        }
    }

    struct Powers(Vec<f32>);

    impl Kernel for Powers {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Vec<f32> {
            let mut values = self.0;
            MapKernel {
                values: &mut values,
                f: Exp,
            }
            .run::<L>(simd);
            values
        }
    }

    #[test]
    fn exp_is_within_two_ulp_in_every_version() {
        let x: Vec<f32> = (-870_001..885_000).map(|i| i as f32 * 1e-4).collect();
        for found in in_all_versions(|| Powers(x.clone())) {
            for (x, found) in x.iter().zip(found) {
                let expected = f64::from(*x).exp();
                let ulp = f64::from((expected as f32).next_up()) - f64::from(expected as f32);
                assert!(
                    (f64::from(found) - expected).abs() <= 2.0 * ulp,
                    "{x}: {found:e}, {expected:e}"
                );
            }
        }
    }

    #[test]
    fn exp_leaves_its_range_gracefully() {
        let x = [
            f32::NEG_INFINITY,
            -1e30,
            -104.0,
            f32::INFINITY,
            1e30,
            89.0,
            f32::NAN,
            0.0,
            -0.0,
        ];
        for found in in_all_versions(|| Powers(x.to_vec())) {
            assert_eq!(
                found[..6],
                [0.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY, f32::INFINITY]
            );
            assert!(found[6].is_nan() && found[7] == 1.0 && found[8] == 1.0);
        }
    }
}
