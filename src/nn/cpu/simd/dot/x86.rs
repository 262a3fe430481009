//! Sums of products of bytes with AVX2, AVX-VNNI, and AVX-512 with VNNI.

use std::{arch::x86_64::*, marker::PhantomData};

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
    kernel.run::<Vnni<Vpdpbusd>>(simd)
}

/// The kernels of AVX-VNNI with its instruction emulated, for tests on processors without it.
#[cfg(test)]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn with_emulated_vnni<K: DotKernel>(simd: HasAvx2F16c, kernel: K) -> K::Output {
    kernel.run::<Vnni<emulated::Vpdpbusd>>(simd)
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
    fn write_quads(values: &[i8], to: &mut [u8]) {
        let (quads, _) = values.as_chunks::<4>();
        let (to, _) = to.as_chunks_mut::<8>();
        for (to, [a, b, c, d]) in to.iter_mut().zip(quads) {
            let wide = |value: &i8| u64::from(i16::from(*value).cast_unsigned());
            let quad = wide(a) | wide(c) << 16 | wide(b) << 32 | wide(d) << 48;
            *to = quad.to_le_bytes();
        }
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

/// The instruction that AVX-VNNI adds to AVX2.
pub trait DotInstruction: Copy {
    /// Proof that the processor has it.
    type Detected: Copy;

    /// The proof for AVX2.
    fn avx2(simd: Self::Detected) -> HasAvx2F16c;

    /// Adds four products to each sum: of bytes without a sign and of bytes with one.
    fn add(
        simd: Self::Detected,
        sums: __m256i,
        without_sign: __m256i,
        with_sign: __m256i,
    ) -> __m256i;
}

/// The instruction itself.
#[derive(Clone, Copy)]
pub struct Vpdpbusd;

impl DotInstruction for Vpdpbusd {
    type Detected = HasAvxVnni;

    #[inline(always)]
    fn avx2(simd: HasAvxVnni) -> HasAvx2F16c {
        simd.0
    }

    #[inline(always)]
    fn add(_: HasAvxVnni, sums: __m256i, without_sign: __m256i, with_sign: __m256i) -> __m256i {
        // SAFETY: the argument proves that the processor has the feature.
        unsafe { _mm256_dpbusd_avx_epi32(sums, without_sign, with_sign) }
    }
}

/// AVX-VNNI.
#[derive(Clone, Copy)]
pub struct Vnni<I>(PhantomData<I>);

impl<I: DotInstruction> Dot for Vnni<I> {
    type Lanes = Avx2;
    type Detected = I::Detected;
    type Sums = __m256i;
    type Weights = __m256i;
    type Row = __m256i;

    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;
    const QUAD_BYTES: usize = 4;
    const OFFSET: i32 = WITHOUT_SIGN;

    #[inline(always)]
    fn lanes(simd: I::Detected) -> HasAvx2 {
        I::avx2(simd).0
    }

    #[inline(always)]
    unsafe fn row(_: I::Detected, from: *const u8) -> __m256i {
        // SAFETY: the argument proves the features; the caller vouches for four bytes.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(_: I::Detected, from: *const i8) -> __m256i {
        // SAFETY: the argument proves the features; the caller vouches for 32 bytes.
        unsafe { _mm256_xor_si256(_mm256_loadu_si256(from.cast()), _mm256_set1_epi32(SIGNS)) }
    }

    #[inline(always)]
    fn begin(_: I::Detected, start: i32) -> __m256i {
        // SAFETY: the argument proves that the processor has the feature.
        unsafe { _mm256_set1_epi32(start) }
    }

    #[inline(always)]
    fn add(simd: I::Detected, sums: __m256i, weights: __m256i, row: __m256i) -> __m256i {
        I::add(simd, sums, weights, row)
    }

    #[inline(always)]
    fn sums(simd: I::Detected, sums: __m256i) -> Avx2 {
        Widening::sums(I::avx2(simd), sums)
    }

    #[inline(always)]
    unsafe fn scales(simd: I::Detected, from: *const f16) -> Avx2 {
        // SAFETY: the caller vouches for the same.
        unsafe { Widening::scales(I::avx2(simd), from) }
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

    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;
    const QUAD_BYTES: usize = 4;
    const OFFSET: i32 = WITHOUT_SIGN;

    #[inline(always)]
    fn lanes(simd: HasAvx512Vnni) -> <Self::Lanes as Lanes>::Detected {
        simd.0
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
    fn begin(_: HasAvx512Vnni, start: i32) -> __m512i {
        // SAFETY: the argument proves that the processor has the feature.
        unsafe { _mm512_set1_epi32(start) }
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

#[cfg(test)]
mod emulated {
    //! Instructions that the processor may lack, one value at a time.

    use std::mem::transmute;

    use super::*;

    /// As the manual defines VPDPBUSD (Intel 64 and IA-32 Architectures Software Developer's Manual,
    /// volume 2).
    #[derive(Clone, Copy)]
    pub struct Vpdpbusd;

    impl DotInstruction for Vpdpbusd {
        type Detected = HasAvx2F16c;

        fn avx2(simd: HasAvx2F16c) -> HasAvx2F16c {
            simd
        }

        fn add(
            _: HasAvx2F16c,
            sums: __m256i,
            without_sign: __m256i,
            with_sign: __m256i,
        ) -> __m256i {
            // SAFETY: all of them have 32 bytes, and every pattern of bits is a value.
            let (mut sums, without_sign, with_sign) = unsafe {
                (
                    transmute::<__m256i, [i32; 8]>(sums),
                    transmute::<__m256i, [[u8; 4]; 8]>(without_sign),
                    transmute::<__m256i, [[i8; 4]; 8]>(with_sign),
                )
            };
            for (sum, (a, b)) in sums.iter_mut().zip(without_sign.iter().zip(&with_sign)) {
                let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
                *sum = sum.wrapping_add(products.sum());
            }
            // SAFETY: as above.
            unsafe { transmute::<[i32; 8], __m256i>(sums) }
        }
    }
}
