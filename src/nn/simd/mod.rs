//! Vectors of f32 in the widest form that the machine has, found out when the program runs.
//!
//! A kernel is written once, over [`Lanes`], and [`dispatch`] runs the version compiled for this machine.
//! `TTSVAR_KERNELS=portable` in the environment picks the version without special instructions.

use std::sync::OnceLock;

use half::bf16;

use self::portable::Portable;

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

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
