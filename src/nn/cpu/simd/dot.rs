//! Sums of products of bytes, for weights and rows that are kept in 8 bits.
//!
//! All versions give the same sums, since whole numbers are added without rounding. The terms are
//! taken four inputs at a time, a quad, as the instructions for it do.

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

    /// The proof for the vectors of f32.
    fn lanes(simd: Self::Detected) -> <Self::Lanes as Lanes>::Detected;

    /// Writes a row's quad as [`Dot::row`] reads it, into `QUAD_BYTES` bytes.
    fn write_quad(values: [i8; 4], to: &mut [u8]);

    /// # Safety
    /// `QUAD_BYTES` bytes can be read at `from`.
    unsafe fn row(simd: Self::Detected, from: *const u8) -> Self::Row;

    /// # Safety
    /// Four bytes for each output of a vector can be read at `from`.
    unsafe fn weights(simd: Self::Detected, from: *const i8) -> Self::Weights;

    /// The beginning of a sum over values of a row that add up to `row_sum`.
    fn begin(simd: Self::Detected, row_sum: i32) -> Self::Sums;

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

/// Runs a kernel in each version that this machine can run, for tests.
#[cfg(test)]
pub(crate) fn in_all_dot_versions<K: DotKernel>(kernel: impl Fn() -> K) -> Vec<K::Output> {
    Machine::here()
        .next()
        .into_iter()
        .flat_map(DotMachine::all_of)
        .map(|machine| run_on(machine, kernel()))
        .collect()
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
    fn write_quad(values: [i8; 4], to: &mut [u8]) {
        to.copy_from_slice(&values.map(i8::cast_unsigned));
    }

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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::{
        super::x86::{Avx2, Avx512, HasAvx2, HasAvx512},
        Dot, DotKernel, Lanes,
    };

    /// Proof that the processor has AVX2 and conversions of f16.
    #[derive(Clone, Copy)]
    pub struct HasAvx2F16c(HasAvx2);

    impl HasAvx2F16c {
        pub fn detect() -> Option<Self> {
            let simd = HasAvx2::detect()?;
            is_x86_feature_detected!("f16c").then_some(Self(simd))
        }
    }

    /// Proof that the processor has AVX-VNNI besides.
    #[derive(Clone, Copy)]
    pub struct HasAvxVnni(HasAvx2F16c);

    impl HasAvxVnni {
        pub fn detect() -> Option<Self> {
            let simd = HasAvx2F16c::detect()?;
            is_x86_feature_detected!("avxvnni").then_some(Self(simd))
        }
    }

    /// Proof that the processor has AVX-512 with its instructions for products of bytes.
    #[derive(Clone, Copy)]
    pub struct HasAvx512Vnni(HasAvx512<false>);

    impl HasAvx512Vnni {
        pub fn detect() -> Option<Self> {
            let simd = HasAvx512::detect()?;
            is_x86_feature_detected!("avx512vnni").then_some(Self(simd))
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn with_avx2<K: DotKernel>(simd: HasAvx2F16c, kernel: K) -> K::Output {
        kernel.run::<Widening>(simd)
    }

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    pub fn with_avx_vnni<K: DotKernel>(simd: HasAvxVnni, kernel: K) -> K::Output {
        kernel.run::<Vnni>(simd)
    }

    #[target_feature(enable = "avx512f,avx512vnni,avx2,fma")]
    pub fn with_avx512_vnni<K: DotKernel>(simd: HasAvx512Vnni, kernel: K) -> K::Output {
        kernel.run::<Vnni512>(simd)
    }

    /// AVX2, which multiplies numbers of 16 bits: of each quad the first and third value are one
    /// pair, the second and fourth another, as the weights fall apart without shuffling.
    #[derive(Clone, Copy)]
    pub struct Widening;

    impl Dot for Widening {
        type Lanes = Avx2;
        type Detected = HasAvx2F16c;
        type Sums = __m256i;
        type Weights = [__m256i; 2];
        type Row = [__m256i; 2];

        const TILE_ROWS: usize = 4;
        const TILE_VECTORS: usize = 2;
        const QUAD_BYTES: usize = 8;

        #[inline(always)]
        fn lanes(simd: HasAvx2F16c) -> HasAvx2 {
            simd.0
        }

        #[inline(always)]
        fn write_quad(values: [i8; 4], to: &mut [u8]) {
            let [a, b, c, d] = values.map(|value| u64::from(i16::from(value).cast_unsigned()));
            let quad = a | c << 16 | b << 32 | d << 48;
            to.copy_from_slice(&quad.to_le_bytes());
        }

        #[inline(always)]
        unsafe fn row(_: HasAvx2F16c, from: *const u8) -> [__m256i; 2] {
            let pair = from.cast::<i32>();
            // SAFETY: the argument proves the features; the caller vouches for eight bytes.
            unsafe {
                [
                    _mm256_set1_epi32(pair.read_unaligned()),
                    _mm256_set1_epi32(pair.add(1).read_unaligned()),
                ]
            }
        }

        #[inline(always)]
        unsafe fn weights(_: HasAvx2F16c, from: *const i8) -> [__m256i; 2] {
            // SAFETY: the argument proves the features; the caller vouches for 32 bytes.
            unsafe {
                let bytes = _mm256_loadu_si256(from.cast());
                [
                    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)),
                    _mm256_srai_epi16::<8>(bytes),
                ]
            }
        }

        #[inline(always)]
        fn begin(_: HasAvx2F16c, _: i32) -> __m256i {
            // SAFETY: the argument proves that the processor has the feature.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        fn add(_: HasAvx2F16c, sums: __m256i, weights: [__m256i; 2], row: [__m256i; 2]) -> __m256i {
            // SAFETY: the argument proves that the processor has the feature.
            unsafe {
                let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(weights[0], row[0]));
                _mm256_add_epi32(sums, _mm256_madd_epi16(weights[1], row[1]))
            }
        }

        #[inline(always)]
        fn sums(simd: HasAvx2F16c, sums: __m256i) -> Avx2 {
            // SAFETY: the argument proves that the processor has the feature.
            Avx2::from_register(simd.0, unsafe { _mm256_cvtepi32_ps(sums) })
        }

        #[inline(always)]
        unsafe fn scales(simd: HasAvx2F16c, from: *const f16) -> Avx2 {
            // SAFETY: the argument proves the features; the caller vouches for eight numbers.
            let scales = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) };
            Avx2::from_register(simd.0, scales)
        }
    }

    /// The instructions multiply bytes without a sign by bytes with one. The weights get the
    /// former by adding 128, and a sum begins with what that adds to it.
    const WITHOUT_SIGN: i32 = 128;

    /// 128 in each byte.
    const SIGNS: i32 = 0x8080_8080_u32.cast_signed();

    /// AVX-VNNI.
    #[derive(Clone, Copy)]
    pub struct Vnni;

    impl Dot for Vnni {
        type Lanes = Avx2;
        type Detected = HasAvxVnni;
        type Sums = __m256i;
        type Weights = __m256i;
        type Row = __m256i;

        const TILE_ROWS: usize = 6;
        const TILE_VECTORS: usize = 2;
        const QUAD_BYTES: usize = 4;

        #[inline(always)]
        fn lanes(simd: HasAvxVnni) -> HasAvx2 {
            simd.0.0
        }

        #[inline(always)]
        fn write_quad(values: [i8; 4], to: &mut [u8]) {
            to.copy_from_slice(&values.map(i8::cast_unsigned));
        }

        #[inline(always)]
        unsafe fn row(_: HasAvxVnni, from: *const u8) -> __m256i {
            // SAFETY: the argument proves the features; the caller vouches for four bytes.
            unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }

        #[inline(always)]
        unsafe fn weights(_: HasAvxVnni, from: *const i8) -> __m256i {
            // SAFETY: the argument proves the features; the caller vouches for 32 bytes.
            unsafe { _mm256_xor_si256(_mm256_loadu_si256(from.cast()), _mm256_set1_epi32(SIGNS)) }
        }

        #[inline(always)]
        fn begin(_: HasAvxVnni, row_sum: i32) -> __m256i {
            // SAFETY: the argument proves that the processor has the feature.
            unsafe { _mm256_set1_epi32(-WITHOUT_SIGN * row_sum) }
        }

        #[inline(always)]
        fn add(_: HasAvxVnni, sums: __m256i, weights: __m256i, row: __m256i) -> __m256i {
            // SAFETY: the argument proves that the processor has the feature.
            unsafe { _mm256_dpbusd_avx_epi32(sums, weights, row) }
        }

        #[inline(always)]
        fn sums(simd: HasAvxVnni, sums: __m256i) -> Avx2 {
            Widening::sums(simd.0, sums)
        }

        #[inline(always)]
        unsafe fn scales(simd: HasAvxVnni, from: *const f16) -> Avx2 {
            // SAFETY: the caller vouches for the same.
            unsafe { Widening::scales(simd.0, from) }
        }
    }

    /// AVX-512 with VNNI.
    #[derive(Clone, Copy)]
    pub struct Vnni512;

    impl Dot for Vnni512 {
        type Lanes = Avx512<false>;
        type Detected = HasAvx512Vnni;
        type Sums = __m512i;
        type Weights = __m512i;
        type Row = __m512i;

        const TILE_ROWS: usize = 12;
        const TILE_VECTORS: usize = 2;
        const QUAD_BYTES: usize = 4;

        #[inline(always)]
        fn lanes(simd: HasAvx512Vnni) -> <Self::Lanes as Lanes>::Detected {
            simd.0
        }

        #[inline(always)]
        fn write_quad(values: [i8; 4], to: &mut [u8]) {
            to.copy_from_slice(&values.map(i8::cast_unsigned));
        }

        #[inline(always)]
        unsafe fn row(_: HasAvx512Vnni, from: *const u8) -> __m512i {
            // SAFETY: the argument proves the features; the caller vouches for four bytes.
            unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }

        #[inline(always)]
        unsafe fn weights(_: HasAvx512Vnni, from: *const i8) -> __m512i {
            // SAFETY: the argument proves the features; the caller vouches for 64 bytes.
            unsafe { _mm512_xor_si512(_mm512_loadu_si512(from.cast()), _mm512_set1_epi32(SIGNS)) }
        }

        #[inline(always)]
        fn begin(_: HasAvx512Vnni, row_sum: i32) -> __m512i {
            // SAFETY: the argument proves that the processor has the feature.
            unsafe { _mm512_set1_epi32(-WITHOUT_SIGN * row_sum) }
        }

        #[inline(always)]
        fn add(_: HasAvx512Vnni, sums: __m512i, weights: __m512i, row: __m512i) -> __m512i {
            // SAFETY: the argument proves that the processor has the feature.
            unsafe { _mm512_dpbusd_epi32(sums, weights, row) }
        }

        #[inline(always)]
        fn sums(simd: HasAvx512Vnni, sums: __m512i) -> Avx512<false> {
            // SAFETY: the argument proves that the processor has the feature.
            Avx512::from_register(simd.0, unsafe { _mm512_cvtepi32_ps(sums) })
        }

        #[inline(always)]
        unsafe fn scales(simd: HasAvx512Vnni, from: *const f16) -> Avx512<false> {
            // SAFETY: the argument proves the features; the caller vouches for sixteen numbers.
            let scales = unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) };
            Avx512::from_register(simd.0, scales)
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::{aarch64::*, asm, is_aarch64_feature_detected};

    use half::f16;

    use super::{super::neon::Neon, Dot, DotKernel};

    /// Proof that the processor has instructions for products of bytes.
    #[derive(Clone, Copy)]
    pub struct HasDotProducts(());

    impl HasDotProducts {
        pub fn detect() -> Option<Self> {
            is_aarch64_feature_detected!("dotprod").then_some(Self(()))
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    pub fn with_dot_products<K: DotKernel>(simd: HasDotProducts, kernel: K) -> K::Output {
        kernel.run::<DotProducts>(simd)
    }

    /// Two registers of four sums each.
    type Two = (int32x4_t, int32x4_t);

    /// Two registers of four quads each.
    type Quads = (int8x16_t, int8x16_t);

    /// A quad in every place.
    ///
    /// # Safety
    /// Four bytes can be read at `from`.
    #[inline(always)]
    unsafe fn row(from: *const u8) -> int8x16_t {
        // SAFETY: the caller vouches for four bytes; every processor of this architecture has the
        // feature.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(from.cast::<i32>().read_unaligned())) }
    }

    /// # Safety
    /// 32 bytes can be read at `from`.
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Quads {
        // SAFETY: the caller vouches for the bytes; every processor of this architecture has the
        // feature.
        unsafe { (vld1q_s8(from), vld1q_s8(from.add(16))) }
    }

    #[inline(always)]
    fn zeros() -> Two {
        // SAFETY: every processor of this architecture has the feature.
        unsafe { (vdupq_n_s32(0), vdupq_n_s32(0)) }
    }

    #[inline(always)]
    fn converted(sums: Two) -> Neon {
        // SAFETY: every processor of this architecture has the feature.
        unsafe { Neon::from_registers(vcvtq_f32_s32(sums.0), vcvtq_f32_s32(sums.1)) }
    }

    /// # Safety
    /// Eight numbers can be read at `from`; they are finite and not negative.
    #[inline(always)]
    unsafe fn scales(from: *const f16) -> Neon {
        // The bits of f16 moved to where f32 has them are a number that is 2^-112 times too large,
        // also where they stand for one below the normal numbers.
        const SCALE: f32 = 5.192_296_9e33; // 2^112
        // SAFETY: the caller vouches for eight numbers; every processor of this architecture has
        // the feature.
        unsafe {
            let halves = vld1q_u16(from.cast());
            let widened = |four| {
                let moved = vreinterpretq_f32_u32(vshlq_n_u32::<13>(vmovl_u16(four)));
                vmulq_n_f32(moved, SCALE)
            };
            Neon::from_registers(
                widened(vget_low_u16(halves)),
                widened(vget_high_u16(halves)),
            )
        }
    }

    /// Products of 8 bits in 16 bits, which are then added in pairs.
    #[derive(Clone, Copy)]
    pub struct Widening;

    impl Dot for Widening {
        type Lanes = Neon;
        type Detected = ();
        type Sums = Two;
        type Weights = Quads;
        type Row = int8x16_t;

        const TILE_ROWS: usize = 6;
        const TILE_VECTORS: usize = 1;
        const QUAD_BYTES: usize = 4;

        #[inline(always)]
        fn lanes((): ()) {}

        #[inline(always)]
        fn write_quad(values: [i8; 4], to: &mut [u8]) {
            to.copy_from_slice(&values.map(i8::cast_unsigned));
        }

        #[inline(always)]
        unsafe fn row((): (), from: *const u8) -> int8x16_t {
            // SAFETY: the caller vouches for the same.
            unsafe { row(from) }
        }

        #[inline(always)]
        unsafe fn weights((): (), from: *const i8) -> Quads {
            // SAFETY: the caller vouches for the same.
            unsafe { weights(from) }
        }

        #[inline(always)]
        fn begin((): (), _: i32) -> Two {
            zeros()
        }

        #[inline(always)]
        fn add((): (), sums: Two, weights: Quads, row: int8x16_t) -> Two {
            // SAFETY: every processor of this architecture has the feature.
            let add = |sums, weights| unsafe {
                let first = vmull_s8(vget_low_s8(weights), vget_low_s8(row));
                let second = vmull_high_s8(weights, row);
                // Two products of numbers up to 127 fit into 16 bits.
                vpadalq_s16(sums, vpaddq_s16(first, second))
            };
            (add(sums.0, weights.0), add(sums.1, weights.1))
        }

        #[inline(always)]
        fn sums((): (), sums: Two) -> Neon {
            converted(sums)
        }

        #[inline(always)]
        unsafe fn scales((): (), from: *const f16) -> Neon {
            // SAFETY: the caller vouches for the same.
            unsafe { scales(from) }
        }
    }

    /// The instruction that adds four products of bytes.
    #[derive(Clone, Copy)]
    pub struct DotProducts;

    impl Dot for DotProducts {
        type Lanes = Neon;
        type Detected = HasDotProducts;
        type Sums = Two;
        type Weights = Quads;
        type Row = int8x16_t;

        const TILE_ROWS: usize = 6;
        const TILE_VECTORS: usize = 2;
        const QUAD_BYTES: usize = 4;

        #[inline(always)]
        fn lanes(_: HasDotProducts) {}

        #[inline(always)]
        fn write_quad(values: [i8; 4], to: &mut [u8]) {
            Widening::write_quad(values, to);
        }

        #[inline(always)]
        unsafe fn row(_: HasDotProducts, from: *const u8) -> int8x16_t {
            // SAFETY: the caller vouches for the same.
            unsafe { row(from) }
        }

        #[inline(always)]
        unsafe fn weights(_: HasDotProducts, from: *const i8) -> Quads {
            // SAFETY: the caller vouches for the same.
            unsafe { weights(from) }
        }

        #[inline(always)]
        fn begin(_: HasDotProducts, _: i32) -> Two {
            zeros()
        }

        #[inline(always)]
        fn add(_: HasDotProducts, sums: Two, weights: Quads, row: int8x16_t) -> Two {
            let add = |mut sums: int32x4_t, weights: int8x16_t| {
                // The standard library has no stable function for it.
                // SAFETY: the argument proves that the processor has the instruction, which
                // changes nothing but its first register.
                unsafe {
                    asm!(
                        ".arch_extension dotprod",
                        "sdot {sums:v}.4s, {weights:v}.16b, {row:v}.16b",
                        sums = inout(vreg) sums,
                        weights = in(vreg) weights,
                        row = in(vreg) row,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
                sums
            };
            (add(sums.0, weights.0), add(sums.1, weights.1))
        }

        #[inline(always)]
        fn sums(_: HasDotProducts, sums: Two) -> Neon {
            converted(sums)
        }

        #[inline(always)]
        unsafe fn scales(_: HasDotProducts, from: *const f16) -> Neon {
            // SAFETY: the caller vouches for the same.
            unsafe { scales(from) }
        }
    }
}
