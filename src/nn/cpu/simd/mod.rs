//! Vectors of f32 in the widest form that the machine has, detected at run time.
//!
//! A kernel is written once, over [`Lanes`], and [`dispatch`] runs the version compiled for this
//! machine: AVX-512 with or without instructions for bf16, AVX2, NEON, or what any compiler makes
//! of plain arrays.

mod dot;
mod machine;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::bf16;

use self::{
    machine::{Machine, machine},
    portable::Portable,
};
#[cfg(test)]
pub(crate) use dot::in_all_dot_versions;
pub(crate) use dot::{Dot, DotKernel, dispatch_dot};
pub use machine::{check_kernels, kernels, kernels_forced};

/// A vector of f32 values. Constructors demand a proof that the processor has the instructions, so
/// each vector is itself a proof. The methods must be inlined into the function that enables the
/// instructions.
pub(crate) trait Lanes: Copy {
    /// Proof that the processor has the instructions; only detection creates it.
    type Detected: Copy;

    /// Values in a vector.
    const COUNT: usize;
    /// Rows of a tile of a product whose sums stay in registers.
    const TILE_ROWS: usize;
    /// Vectors in each row of such a tile, 1 or 2.
    const TILE_VECTORS: usize;

    /// `COUNT` pairs of bf16.
    type Pairs: Copy;

    /// Whether the machine multiplies pairs of bf16; otherwise [`Lanes::add_products`] takes
    /// several instructions.
    const MULTIPLIES_PAIRS: bool;

    /// The proof with which this vector was made.
    fn detected(self) -> Self::Detected;

    /// `value` in every place.
    fn splat(simd: Self::Detected, value: f32) -> Self;
    /// # Safety
    /// `COUNT` values can be read at `from`.
    unsafe fn load_at(simd: Self::Detected, from: *const f32) -> Self;
    /// # Safety
    /// `COUNT` values can be written at `to`.
    unsafe fn store_at(self, to: *mut f32);
    /// # Safety
    /// `COUNT` values can be read at `from`.
    unsafe fn load_bf16_at(simd: Self::Detected, from: *const bf16) -> Self;
    /// Rounds to the nearest bf16, of two as near the even one; NaN stays, numbers too small for
    /// bf16 may become 0.
    /// # Safety
    /// `COUNT` values can be written at `to`.
    unsafe fn store_bf16_at(self, to: *mut bf16);
    /// # Safety
    /// `2 * COUNT` values can be read at `from`.
    unsafe fn load_pairs_at(simd: Self::Detected, from: *const bf16) -> Self::Pairs;
    /// A pair in every place, its first number in the lower half of the bits.
    fn splat_pair(simd: Self::Detected, pair: u32) -> Self::Pairs;
    /// Adds to each value the two products of the numbers of its pairs; the number of
    /// roundings depends on the machine.
    fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once where the machine can.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The greater of both; NaN stays.
    fn at_least(self, bound: Self) -> Self;
    /// The smaller of both; NaN stays.
    fn at_most(self, bound: Self) -> Self;
    /// `self * 2^power` for whole powers between -252 and 254.
    fn times_two_to(self, power: Self) -> Self;

    /// The sum of the values, added in no particular order.
    #[inline(always)]
    fn total(self) -> f32 {
        let mut all = [0.0; 16];
        self.store(&mut all);
        let mut total = 0.0;
        for value in all {
            total += value;
        }
        total
    }

    /// The first `COUNT` values.
    #[inline(always)]
    fn load(simd: Self::Detected, from: &[f32]) -> Self {
        assert!(from.len() >= Self::COUNT);
        // SAFETY: the slice is long enough, as asserted.
        unsafe { Self::load_at(simd, from.as_ptr()) }
    }

    /// Overwrites the first `COUNT` values.
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        assert!(to.len() >= Self::COUNT);
        // SAFETY: the slice is long enough, as asserted.
        unsafe { self.store_at(to.as_mut_ptr()) }
    }

    /// Fewer than `COUNT` values, the others being `rest`.
    #[inline(always)]
    fn load_some(simd: Self::Detected, from: &[f32], rest: f32) -> Self {
        let mut all = [rest; 16];
        all[..from.len()].copy_from_slice(from);
        Self::load(simd, &all)
    }

    /// A vector, or the end of a row filled up with `rest`.
    #[inline(always)]
    fn load_rest(simd: Self::Detected, part: &[f32], rest: f32) -> Self {
        if part.len() == Self::COUNT {
            Self::load(simd, part)
        } else {
            Self::load_some(simd, part, rest)
        }
    }

    /// Overwrites all of `part`, which is a vector or shorter.
    #[inline(always)]
    fn store_rest(self, part: &mut [f32]) {
        if part.len() == Self::COUNT {
            self.store(part)
        } else {
            self.store_some(part)
        }
    }

    /// Overwrites all of `to`, which is shorter than a vector.
    #[inline(always)]
    fn store_some(self, to: &mut [f32]) {
        let mut all = [0.0; 16];
        self.store(&mut all);
        to.copy_from_slice(&all[..to.len()]);
    }
}

/// Values of a row that [`Running`] takes at a time.
pub(crate) const RUNNING_STEP: usize = 16;

/// Sixteen running values of a row, regardless of the vector width: all machines fold a row in the
/// same order.
pub(crate) struct Running<L>(pub [L; 2]);

impl<L: Lanes> Running<L> {
    #[inline(always)]
    pub fn new(simd: L::Detected, value: f32) -> Self {
        Self([L::splat(simd, value); 2])
    }

    /// Folds the next `RUNNING_STEP` values of a row in; at its end fewer, the others being `rest`.
    #[inline(always)]
    pub fn update(&mut self, part: &[f32], rest: f32, f: impl Fn(L, L) -> L) {
        // Of a known length, a part takes no loop, and the vectors stay in registers.
        if let Ok(whole) = <&[f32; RUNNING_STEP]>::try_from(part) {
            for (running, part) in self.0.iter_mut().zip(whole.chunks_exact(L::COUNT)) {
                *running = f(*running, L::load(running.detected(), part));
            }
            return;
        }
        for (running, part) in self.0.iter_mut().zip(part.chunks(L::COUNT)) {
            *running = f(*running, L::load_rest(running.detected(), part, rest));
        }
    }

    /// All sixteen folded into one by repeated halving.
    #[inline(always)]
    pub fn fold(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut all = [0.0; 16];
        for (running, all) in self.0.into_iter().zip(all.chunks_mut(L::COUNT)) {
            running.store(all);
        }
        for count in [8, 4, 2, 1] {
            for i in 0..count {
                all[i] = f(all[i], all[i + count]);
            }
        }
        all[0]
    }
}

/// Work that is written over [`Lanes`].
pub(crate) trait Kernel {
    type Output;

    /// Implementations must be `#[inline(always)]`.
    fn run<L: Lanes>(self, simd: L::Detected) -> Self::Output;
}

/// Runs a kernel with the vectors of this machine.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    run_on(machine(), kernel)
}

/// Runs a kernel in the version for these instructions.
#[inline(always)]
fn run_on<K: Kernel>(machine: Machine, kernel: K) -> K::Output {
    match machine {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `simd` proves that the processor has the features.
        Machine::Avx512Bf16(simd) => unsafe { x86::with_avx512bf16(simd, kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `simd` proves that the processor has the features.
        Machine::Avx512(simd) => unsafe { x86::with_avx512(simd, kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `simd` proves that the processor has the features.
        Machine::Avx2(simd) => unsafe { x86::with_avx2(simd, kernel) },
        #[cfg(target_arch = "aarch64")]
        Machine::Neon => kernel.run::<neon::Neon>(()),
        Machine::Portable => kernel.run::<Portable>(()),
    }
}

/// Runs a kernel in each version that this machine can run, for tests.
#[cfg(test)]
pub(crate) fn in_all_versions<K: Kernel>(kernel: impl Fn() -> K) -> Vec<K::Output> {
    Machine::here()
        .map(|machine| run_on(machine, kernel()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies each operation to whole vectors of values.
    struct Operations<'a>([&'a [f32]; 3]);

    const NAMES: [&str; 8] = [
        "add", "sub", "mul", "div", "mul_add", "at_least", "at_most", "splat",
    ];

    impl Kernel for Operations<'_> {
        type Output = [Vec<f32>; 8];

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Self::Output {
            let each = |f: fn(L, L, L) -> L| {
                let vectors = self.0.map(|values| {
                    values
                        .chunks_exact(L::COUNT)
                        .map(|part| L::load(simd, part))
                });
                let [a, b, c] = vectors;
                let mut out = vec![0.0; self.0[0].len()];
                for (out, ((a, b), c)) in out.chunks_exact_mut(L::COUNT).zip(a.zip(b).zip(c)) {
                    f(a, b, c).store(out);
                }
                out
            };
            [
                each(|a, b, _| a.add(b)),
                each(|a, b, _| a.sub(b)),
                each(|a, b, _| a.mul(b)),
                each(|a, b, _| a.div(b)),
                each(|a, b, c| a.mul_add(b, c)),
                each(|a, b, _| a.at_least(b)),
                each(|a, b, _| a.at_most(b)),
                each(|a, _, _| L::splat(a.detected(), -3.5)),
            ]
        }
    }

    /// The definitions; of the two that `mul_add` allows the fused one.
    fn defined(name: &str, [a, b, c]: [f32; 3]) -> f32 {
        match name {
            "add" => a + b,
            "sub" => a - b,
            "mul" => a * b,
            "div" => a / b,
            "mul_add" => a.mul_add(b, c),
            "at_least" => {
                if a < b {
                    b
                } else {
                    a
                }
            }
            "at_most" => {
                if a > b {
                    b
                } else {
                    a
                }
            }
            _ => -3.5,
        }
    }

    #[test]
    fn operations_are_as_defined_to_the_bit_for_every_kind_of_number() {
        let kinds = [
            0.0,
            -0.0,
            1.0,
            -2.5,
            1e-40,
            -3e38,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            0.1,
        ];
        let pick = |i: usize| kinds[i % kinds.len()];
        let all: [Vec<f32>; 3] =
            [1, 10, 100].map(|step| (0..1008).map(|i| pick(i / step)).collect());
        let bits = |v: f32| {
            if v.is_nan() {
                f32::NAN.to_bits()
            } else {
                v.to_bits()
            }
        };
        for found in in_all_versions(|| Operations(all.each_ref().map(Vec::as_slice))) {
            for (name, found) in NAMES.iter().zip(found) {
                for (i, found) in found.into_iter().enumerate() {
                    let [a, b, c] = all.each_ref().map(|values| values[i]);
                    let expected = defined(name, [a, b, c]);
                    let unfused = *name == "mul_add" && bits(found) == bits(a * b + c);
                    assert!(
                        unfused || bits(found) == bits(expected),
                        "{name} {a} {b} {c}: {found}, {expected}"
                    );
                }
            }
        }
    }

    /// Numbers times powers of two.
    struct Powers<'a>(&'a [f32], &'a [f32]);

    impl Kernel for Powers<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Vec<f32> {
            let mut out = vec![0.0; self.0.len()];
            let vectors = self
                .0
                .chunks_exact(L::COUNT)
                .zip(self.1.chunks_exact(L::COUNT));
            for (out, (x, n)) in out.chunks_exact_mut(L::COUNT).zip(vectors) {
                L::load(simd, x).times_two_to(L::load(simd, n)).store(out);
            }
            out
        }
    }

    #[test]
    fn powers_of_two_reach_from_below_the_least_number_to_above_the_greatest() {
        let powers: Vec<f32> = (-252..=254).map(|n| n as f32).chain([0.0; 5]).collect();
        for x in [1.0_f32, -1.0, 1.3, f32::NAN] {
            let values = vec![x; powers.len()];
            for found in in_all_versions(|| Powers(&values, &powers)) {
                for (n, found) in powers.iter().zip(found) {
                    let expected = (f64::from(x) * f64::from(*n).exp2()) as f32;
                    assert!(
                        found == expected || x.is_nan() && found.is_nan(),
                        "{x} * 2^{n}: {found:e}"
                    );
                }
            }
        }
    }

    /// Numbers read from bf16.
    struct Widened<'a>(&'a [bf16]);

    impl Kernel for Widened<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Vec<f32> {
            let mut out = vec![0.0; self.0.len()];
            for (out, values) in out
                .chunks_exact_mut(L::COUNT)
                .zip(self.0.chunks_exact(L::COUNT))
            {
                // SAFETY: a chunk has as many values as a vector.
                unsafe { L::load_bf16_at(simd, values.as_ptr()) }.store(out);
            }
            out
        }
    }

    #[test]
    fn every_bf16_is_read_as_the_same_number() {
        let all: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        for found in in_all_versions(|| Widened(&all)) {
            for (value, found) in all.iter().zip(found) {
                assert!(
                    found == value.to_f32() || value.is_nan() && found.is_nan(),
                    "{value}: {found}"
                );
            }
        }
    }

    /// Sums of products of pairs, and numbers rounded to bf16.
    struct PairProducts<'a> {
        pairs: [&'a [bf16]; 2],
        sums: &'a [f32],
    }

    impl Kernel for PairProducts<'_> {
        type Output = (Vec<f32>, Vec<bf16>);

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Self::Output {
            let [a, b] = self.pairs;
            let mut sums = self.sums.to_vec();
            let mut rounded = vec![bf16::ZERO; self.sums.len()];
            let parts = sums
                .chunks_exact_mut(L::COUNT)
                .zip(rounded.chunks_exact_mut(L::COUNT));
            for ((sums, rounded), (a, b)) in parts.zip(
                a.chunks_exact(2 * L::COUNT)
                    .zip(b.chunks_exact(2 * L::COUNT)),
            ) {
                let sum = L::load(simd, sums);
                // SAFETY: the chunks have as many values as a vector, those of `a` and `b` twice as
                // many.
                unsafe {
                    sum.store_bf16_at(rounded.as_mut_ptr());
                    let a = L::load_pairs_at(simd, a.as_ptr());
                    let b = L::load_pairs_at(simd, b.as_ptr());
                    sum.add_products(a, b).store(sums);
                }
            }
            (sums, rounded)
        }
    }

    #[test]
    fn pairs_are_multiplied_and_numbers_rounded_to_bf16() {
        let part = |seed: u32| {
            (0..1 << 16).map(move |i: u32| ((i * 40_503 + seed) % 1021) as f32 / 128.0 - 4.0)
        };
        let [a, b] = [1, 500].map(|seed| part(seed).map(bf16::from_f32).collect::<Vec<_>>());
        let odd = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            0.0,
            -0.0,
            f32::MAX,
            f32::from_bits(0x7f80_0001),
            -1e-20,
        ];
        let bits = (0..1 << 15).map(|i: u32| f32::from_bits(0x3f00_0000 + i * 1021));
        let sums: Vec<f32> = bits
            .map(|v| if v > 100.0 { v % 100.0 } else { v })
            .collect();
        let sums = [&odd[..], &sums[8..]].concat();
        for (found, rounded) in in_all_versions(|| PairProducts {
            pairs: [&a, &b],
            sums: &sums,
        }) {
            for (i, found) in found.into_iter().enumerate() {
                let term = |at: usize| f64::from(a[at].to_f32()) * f64::from(b[at].to_f32());
                let expected = f64::from(sums[i]) + term(2 * i) + term(2 * i + 1);
                let near =
                    (f64::from(found) - expected).abs() <= 1e-4 || f64::from(found) == expected;
                assert!(
                    near || expected.is_nan() && found.is_nan() || sums[i] == f32::MAX,
                    "{i}: {found} {expected}"
                );
                let expected = bf16::from_f32(sums[i]);
                let same = rounded[i].to_bits() == expected.to_bits();
                assert!(
                    same || expected.is_nan() && rounded[i].is_nan(),
                    "{}: {}",
                    sums[i],
                    rounded[i]
                );
            }
        }
    }
}
