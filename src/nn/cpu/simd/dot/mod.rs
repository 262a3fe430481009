//! Sums of products of bytes, for weights and rows that are kept in 8 bits.
//!
//! All versions give the same sums, since integers are added without rounding. The terms are
//! taken four inputs at a time, a quad, as the instructions for it do.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::f16;

use super::{
    Lanes,
    machine::{Machine, machine},
    portable::Portable,
};

/// Instructions for sums of products of bytes, beside vectors of f32 for what follows.
pub(crate) trait Dot: Copy {
    /// The vectors to which sums are converted, one output per value.
    type Lanes: Lanes;
    /// Proof that the processor has the instructions; only detection creates it.
    type Detected: Copy;
    /// One sum for each output of a vector.
    type Sums: Copy;
    /// The weights of a quad for each output of a vector.
    type Weights: Copy;
    /// A row's quad in every place.
    type Row: Copy;

    /// Rows of a tile whose sums stay in registers.
    const TILE_ROWS: usize;
    /// Vectors in each row of such a tile, 1 or 2.
    const TILE_VECTORS: usize;
    /// Bytes that a row's quad takes.
    const QUAD_BYTES: usize;
    /// What the instructions add to each weight. A sum must therefore begin with `-OFFSET` times the
    /// sum of the row's values.
    const OFFSET: i32 = 0;

    /// The proof for the vectors of f32.
    fn lanes(simd: Self::Detected) -> <Self::Lanes as Lanes>::Detected;

    /// Writes quads of a row as [`Dot::row`] reads them, `QUAD_BYTES` bytes each: the numbers as they
    /// are, unless the instructions need them in another form.
    #[inline(always)]
    fn write_quads(values: &[i8], to: &mut [u8]) {
        for (to, value) in to.iter_mut().zip(values) {
            *to = value.cast_unsigned();
        }
    }

    /// # Safety
    /// `QUAD_BYTES` bytes can be read at `from`.
    unsafe fn row(simd: Self::Detected, from: *const u8) -> Self::Row;

    /// # Safety
    /// Four bytes for each output of a vector can be read at `from`.
    unsafe fn weights(simd: Self::Detected, from: *const i8) -> Self::Weights;

    /// The beginning of a sum; `start` is 0 where `OFFSET` is.
    fn begin(simd: Self::Detected, start: i32) -> Self::Sums;

    /// Adds the products of a quad.
    fn add(
        simd: Self::Detected,
        sums: Self::Sums,
        weights: Self::Weights,
        row: Self::Row,
    ) -> Self::Sums;

    /// The sums as f32; all of them can be represented.
    fn sums(simd: Self::Detected, sums: Self::Sums) -> Self::Lanes;

    /// Finite numbers that are not negative.
    ///
    /// # Safety
    /// A vector of numbers can be read at `from`.
    unsafe fn scales(simd: Self::Detected, from: *const f16) -> Self::Lanes;
}

/// Work that is written over [`Dot`].
pub(crate) trait DotKernel {
    type Output;

    /// Implementations must be `#[inline(always)]`.
    fn run<D: Dot>(self, simd: D::Detected) -> Self::Output;
}

/// Runs a kernel with the instructions of this machine.
pub(crate) fn dispatch_dot<K: DotKernel>(kernel: K) -> K::Output {
    run_on(DotMachine::of(machine()), kernel)
}

/// Instructions for products of bytes that this processor was found to have.
#[derive(Clone, Copy)]
enum DotMachine {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(x86::HasAvx512Vnni),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(x86::HasAvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::HasAvx2F16c),
    #[cfg(target_arch = "aarch64")]
    NeonDot(neon::HasDotProducts),
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl DotMachine {
    /// The fastest that go with vectors of these instructions.
    fn of(machine: Machine) -> Self {
        Self::all_of(machine).next().unwrap_or(Self::Portable)
    }

    /// All that go with vectors of these instructions or of fewer, the fastest first.
    fn all_of(machine: Machine) -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let found = {
            let wide = matches!(machine, Machine::Avx512Bf16(_) | Machine::Avx512(_));
            let vectors = wide || matches!(machine, Machine::Avx2(_));
            [
                x86::HasAvx512Vnni::detect()
                    .filter(|_| wide)
                    .map(Self::Avx512Vnni),
                x86::HasAvxVnni::detect()
                    .filter(|_| vectors)
                    .map(Self::AvxVnni),
                x86::HasAvx2F16c::detect()
                    .filter(|_| vectors)
                    .map(Self::Avx2),
            ]
        };
        #[cfg(target_arch = "aarch64")]
        let found = {
            let vectors = matches!(machine, Machine::Neon);
            [
                neon::HasDotProducts::detect()
                    .filter(|_| vectors)
                    .map(Self::NeonDot),
                vectors.then_some(Self::Neon),
            ]
        };
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let found = {
            let _ = machine;
            []
        };
        found.into_iter().flatten().chain([Self::Portable])
    }
}

#[inline(always)]
fn run_on<K: DotKernel>(machine: DotMachine, kernel: K) -> K::Output {
    match machine {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `simd` proves that the processor has the features.
        DotMachine::Avx512Vnni(simd) => unsafe { x86::with_avx512_vnni(simd, kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `simd` proves that the processor has the features.
        DotMachine::AvxVnni(simd) => unsafe { x86::with_avx_vnni(simd, kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `simd` proves that the processor has the features.
        DotMachine::Avx2(simd) => unsafe { x86::with_avx2(simd, kernel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `simd` proves that the processor has the features.
        DotMachine::NeonDot(simd) => unsafe { neon::with_dot_products(simd, kernel) },
        #[cfg(target_arch = "aarch64")]
        DotMachine::Neon => kernel.run::<neon::Widening>(()),
        DotMachine::Portable => kernel.run::<Portable>(()),
    }
}

/// Runs a kernel in each version that this machine can run or emulate, for tests.
#[cfg(test)]
pub(crate) fn in_all_dot_versions<K: DotKernel>(kernel: impl Fn() -> K) -> Vec<K::Output> {
    let machines = Machine::here()
        .next()
        .into_iter()
        .flat_map(DotMachine::all_of);
    let results = machines.map(|machine| run_on(machine, kernel()));
    #[cfg(target_arch = "x86_64")]
    let results = x86::HasAvx2F16c::detect()
        // SAFETY: `simd` proves that the processor has the features.
        .map(|simd| unsafe { x86::with_emulated_vnni(simd, kernel()) })
        .into_iter()
        .chain(results);
    results.collect()
}

impl Dot for Portable {
    type Lanes = Self;
    type Detected = ();
    type Sums = [i32; 8];
    type Weights = [[i8; 4]; 8];
    type Row = [i8; 4];

    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 1;
    const QUAD_BYTES: usize = 4;

    #[inline(always)]
    fn lanes((): ()) {}

    #[inline(always)]
    unsafe fn row((): (), from: *const u8) -> [i8; 4] {
        // SAFETY: the caller vouches for four bytes.
        unsafe { from.cast::<[i8; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn weights((): (), from: *const i8) -> [[i8; 4]; 8] {
        // SAFETY: the caller vouches for the bytes.
        unsafe { from.cast::<[[i8; 4]; 8]>().read() }
    }

    #[inline(always)]
    fn begin((): (), _: i32) -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn add((): (), mut sums: [i32; 8], weights: [[i8; 4]; 8], row: [i8; 4]) -> [i32; 8] {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            for (weight, value) in weights.into_iter().zip(row) {
                *sum += i32::from(weight) * i32::from(value);
            }
        }
        sums
    }

    #[inline(always)]
    fn sums((): (), sums: [i32; 8]) -> Self {
        Self::from_values(sums.map(|sum| sum as f32))
    }

    #[inline(always)]
    unsafe fn scales((): (), from: *const f16) -> Self {
        // SAFETY: the caller vouches for eight numbers.
        let scales = unsafe { from.cast::<[f16; 8]>().read() };
        Self::from_values(scales.map(f16::to_f32_const))
    }
}
