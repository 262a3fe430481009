//! Vectors of f32 in the widest form that the machine has, found out when the program runs.
//!
//! A kernel is written once, over [`Lanes`], and [`dispatch`] runs the version compiled for this machine.
//! `TTSVAR_KERNELS=portable` in the environment picks the version without special instructions.

use std::sync::OnceLock;

use half::bf16;

/// A vector of f32 values. Its methods are reached through [`dispatch`] alone, which has seen that the machine has the
/// instructions; they must be inlined into the function that enables them.
pub(crate) trait Lanes: Copy {
    /// Values in a vector.
    const COUNT: usize;
    /// Rows of a tile of a product whose sums stay in registers.
    const TILE_ROWS: usize;
    /// Vectors in each row of such a tile, 1 or 2.
    const TILE_VECTORS: usize;

    fn splat(value: f32) -> Self;
    /// # Safety
    /// `COUNT` values can be read at `from`.
    unsafe fn load_at(from: *const f32) -> Self;
    /// # Safety
    /// `COUNT` values can be written at `to`.
    unsafe fn store_at(self, to: *mut f32);
    /// # Safety
    /// `COUNT` values can be read at `from`.
    unsafe fn load_bf16_at(from: *const bf16) -> Self;
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

    /// The first `COUNT` values.
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        assert!(from.len() >= Self::COUNT);
        // SAFETY: the slice is long enough, as asserted.
        unsafe { Self::load_at(from.as_ptr()) }
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
    fn load_some(from: &[f32], rest: f32) -> Self {
        let mut all = [rest; 16];
        all[..from.len()].copy_from_slice(from);
        Self::load(&all)
    }

    /// A vector, or the end of a row filled up with `rest`.
    #[inline(always)]
    fn load_rest(part: &[f32], rest: f32) -> Self {
        if part.len() == Self::COUNT { Self::load(part) } else { Self::load_some(part, rest) }
    }

    /// Overwrites all of `part`, which is a vector or shorter.
    #[inline(always)]
    fn store_rest(self, part: &mut [f32]) {
        if part.len() == Self::COUNT { self.store(part) } else { self.store_some(part) }
    }

    /// Overwrites all of `to`, which is shorter than a vector.
    #[inline(always)]
    fn store_some(self, to: &mut [f32]) {
        let mut all = [0.0; 16];
        self.store(&mut all);
        to.copy_from_slice(&all[..to.len()]);
    }
}

/// Sixteen running values of a row, whatever the width of a vector, so that all machines fold a row in the same order.
pub(crate) struct Running<L>(pub [L; 2]);

impl<L: Lanes> Running<L> {
    /// Values of a row that are taken at a time.
    pub const STEP: usize = 16;

    #[inline(always)]
    pub fn new(value: f32) -> Self {
        Self([L::splat(value); 2])
    }

    /// Folds the next `STEP` values of a row in; at its end fewer, the others being `rest`.
    #[inline(always)]
    pub fn update(&mut self, part: &[f32], rest: f32, f: impl Fn(L, L) -> L) {
        for (running, part) in self.0.iter_mut().zip(part.chunks(L::COUNT)) {
            *running = f(*running, L::load_rest(part, rest));
        }
    }

    /// All sixteen folded into one, halves upon halves.
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

    /// To be marked `#[inline(always)]`.
    fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs a kernel with the widest vectors of this machine.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match machine() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `machine` has seen these features.
        Machine::Avx512 => unsafe { x86::with_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `machine` has seen these features.
        Machine::Avx2 => unsafe { x86::with_avx2(kernel) },
        Machine::Portable => kernel.run::<Portable>(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Machine {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// The name of the kernels that run in this process: `avx512`, `avx2` or `portable`.
pub fn kernels() -> &'static str {
    match machine() {
        #[cfg(target_arch = "x86_64")]
        Machine::Avx512 => "avx512",
        #[cfg(target_arch = "x86_64")]
        Machine::Avx2 => "avx2",
        Machine::Portable => "portable",
    }
}

/// Whether `TTSVAR_KERNELS=portable` chose the kernels, whatever the machine could run.
pub fn kernels_forced() -> bool {
    std::env::var_os("TTSVAR_KERNELS").is_some_and(|kind| kind == "portable")
}

fn machine() -> Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    *MACHINE.get_or_init(|| {
        if kernels_forced() {
            return Machine::Portable;
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
            return if is_x86_feature_detected!("avx512f") { Machine::Avx512 } else { Machine::Avx2 };
        }
        Machine::Portable
    })
}

/// Arrays that any compiler turns into what the machine is known to have.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(mut self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        for i in 0..8 {
            self.0[i] = f(self.0[i], other.0[i]);
        }
        self
    }
}

impl Lanes for Portable {
    const COUNT: usize = 8;
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load_at(from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight values; an array of f32 needs no more than their alignment.
        Self(unsafe { from.cast::<[f32; 8]>().read() })
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight values.
        unsafe { to.cast::<[f32; 8]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn load_bf16_at(from: *const bf16) -> Self {
        // SAFETY: the caller vouches for eight values; an array of them needs no more than their alignment.
        Self(unsafe { from.cast::<[bf16; 8]>().read() }.map(f32::from))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(mut self, factor: Self, term: Self) -> Self {
        for i in 0..8 {
            // Where the machine lacks the instruction, `f32::mul_add` would be a slow call.
            self.0[i] = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                self.0[i].mul_add(factor.0[i], term.0[i])
            } else {
                self.0[i] * factor.0[i] + term.0[i]
            };
        }
        self
    }

    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        self.zip(bound, |a, b| if a < b { b } else { a })
    }

    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        self.zip(bound, |a, b| if a > b { b } else { a })
    }

    #[inline(always)]
    fn times_two_to(self, power: Self) -> Self {
        // In two steps, so that both powers are numbers of full precision.
        let two_to = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
        self.zip(power, |a, n| {
            let n = n as i32;
            a * two_to(n >> 1) * two_to(n - (n >> 1))
        })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::bf16;

    use super::{Kernel, Lanes};

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx512>()
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx2>()
    }

    /// Implements an operation by an instruction.
    macro_rules! operations {
        ($($name:ident($($arg:ident),*) = $instruction:ident($($order:ident),*);)*) => {$(
            #[inline(always)]
            fn $name(self, $($arg: Self),*) -> Self {
                let itself = self;
                // SAFETY: reached through `dispatch`, which has seen the feature.
                Self(unsafe { $instruction($(operations!(@ itself $order)),*) })
            }
        )*};
        (@ $itself:ident this) => { $itself.0 };
        (@ $itself:ident $other:ident) => { $other.0 };
    }

    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    impl Lanes for Avx512 {
        const COUNT: usize = 16;
        const TILE_ROWS: usize = 12;
        const TILE_VECTORS: usize = 2;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: reached through `dispatch`, which has seen the feature.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load_at(from: *const f32) -> Self {
            // SAFETY: the caller vouches for sixteen values.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store_at(self, to: *mut f32) {
            // SAFETY: the caller vouches for sixteen values.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn load_bf16_at(from: *const bf16) -> Self {
            // SAFETY: the caller vouches for sixteen values.
            let halves = unsafe { _mm256_loadu_si256(from.cast()) };
            // SAFETY: reached through `dispatch`, which has seen the feature.
            Self(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) })
        }

        // Of a NaN and a number `max` and `min` return the second argument.
        operations! {
            add(other) = _mm512_add_ps(this, other);
            sub(other) = _mm512_sub_ps(this, other);
            mul(other) = _mm512_mul_ps(this, other);
            div(other) = _mm512_div_ps(this, other);
            mul_add(factor, term) = _mm512_fmadd_ps(this, factor, term);
            at_least(bound) = _mm512_max_ps(bound, this);
            at_most(bound) = _mm512_min_ps(bound, this);
            times_two_to(power) = _mm512_scalef_ps(this, power);
        }
    }

    #[derive(Clone, Copy)]
    pub struct Avx2(__m256);

    impl Lanes for Avx2 {
        const COUNT: usize = 8;
        const TILE_ROWS: usize = 6;
        const TILE_VECTORS: usize = 2;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: reached through `dispatch`, which has seen the feature.
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load_at(from: *const f32) -> Self {
            // SAFETY: the caller vouches for eight values.
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store_at(self, to: *mut f32) {
            // SAFETY: the caller vouches for eight values.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn load_bf16_at(from: *const bf16) -> Self {
            // SAFETY: the caller vouches for eight values.
            let halves = unsafe { _mm_loadu_si128(from.cast()) };
            // SAFETY: reached through `dispatch`, which has seen the feature.
            Self(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))) })
        }

        // Of a NaN and a number `max` and `min` return the second argument.
        operations! {
            add(other) = _mm256_add_ps(this, other);
            sub(other) = _mm256_sub_ps(this, other);
            mul(other) = _mm256_mul_ps(this, other);
            div(other) = _mm256_div_ps(this, other);
            mul_add(factor, term) = _mm256_fmadd_ps(this, factor, term);
            at_least(bound) = _mm256_max_ps(bound, this);
            at_most(bound) = _mm256_min_ps(bound, this);
        }

        #[inline(always)]
        fn times_two_to(self, power: Self) -> Self {
            // SAFETY: reached through `dispatch`, which has seen the feature.
            unsafe {
                let two_to =
                    |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
                let n = _mm256_cvtps_epi32(power.0);
                let half = _mm256_srai_epi32::<1>(n);
                let rest = _mm256_sub_epi32(n, half);
                // In two steps, so that both powers are numbers of full precision.
                Self(_mm256_mul_ps(_mm256_mul_ps(self.0, two_to(half)), two_to(rest)))
            }
        }
    }
}

/// Runs a kernel in each version that this machine can run, for tests.
#[cfg(test)]
pub(crate) fn in_all_versions<K: Kernel>(kernel: impl Fn() -> K) -> Vec<K::Output> {
    let mut found = vec![kernel().run::<Portable>()];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
            // SAFETY: the features were just seen.
            found.push(unsafe { x86::with_avx2(kernel()) });
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the features were just seen; every machine with AVX-512 has AVX2 and FMA.
            found.push(unsafe { x86::with_avx512(kernel()) });
        }
    }
    found
}
