//! Vectors of AVX-512 and of AVX2.

use std::arch::x86_64::*;

use half::bf16;

use super::{Kernel, Lanes};

/// Proof that the processor has AVX-512, with or without the instructions for bf16, and AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasAvx512<const BF16: bool>(());

impl<const BF16: bool> HasAvx512<BF16> {
    pub fn detect() -> Option<Self> {
        HasAvx2::detect()?;
        let found = is_x86_feature_detected!("avx512f")
            && (!BF16 || is_x86_feature_detected!("avx512bf16"));
        found.then_some(Self(()))
    }
}

/// Proof that the processor has AVX2 and fused multiplication and addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasAvx2(());

impl HasAvx2 {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "avx512bf16,avx512f,avx2,fma")]
pub fn with_avx512bf16<K: Kernel>(simd: HasAvx512<true>, kernel: K) -> K::Output {
    kernel.run::<Avx512<true>>(simd)
}

#[target_feature(enable = "avx512f,avx2,fma")]
pub fn with_avx512<K: Kernel>(simd: HasAvx512<false>, kernel: K) -> K::Output {
    kernel.run::<Avx512<false>>(simd)
}

#[target_feature(enable = "avx2,fma")]
pub fn with_avx2<K: Kernel>(simd: HasAvx2, kernel: K) -> K::Output {
    kernel.run::<Avx2>(simd)
}

/// Implements an operation by an instruction.
macro_rules! operations {
    ($($name:ident($($arg:ident),*) = $instruction:ident($($order:ident),*);)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self),*) -> Self {
            let itself = self;
            // SAFETY: a vector is a proof that the processor has the feature.
            Self(unsafe { $instruction($(operations!(@ itself $order)),*) })
        }
    )*};
    (@ $itself:ident this) => { $itself.0 };
    (@ $itself:ident $other:ident) => { $other.0 };
}

/// With or without the instructions for bf16.
#[derive(Clone, Copy)]
pub struct Avx512<const BF16: bool>(__m512);

impl<const BF16: bool> Avx512<BF16> {
    #[inline(always)]
    pub fn from_register(_: HasAvx512<BF16>, values: __m512) -> Self {
        Self(values)
    }
}

/// A mask of the first `count` places, at most sixteen.
///
/// # Panics
/// When there are more.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    assert!(count <= 16);
    ((1_u32 << count) - 1) as __mmask16
}

impl<const BF16: bool> Lanes for Avx512<BF16> {
    const COUNT: usize = 16;
    const TILE_ROWS: usize = 12;
    const TILE_VECTORS: usize = 2;

    type Pairs = __m512i;

    const MULTIPLIES_PAIRS: bool = BF16;

    type Detected = HasAvx512<BF16>;

    #[inline(always)]
    fn detected(self) -> HasAvx512<BF16> {
        HasAvx512(())
    }

    #[inline(always)]
    fn splat(_: HasAvx512<BF16>, value: f32) -> Self {
        // SAFETY: the argument proves that the processor has the feature.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load_at(_: HasAvx512<BF16>, from: *const f32) -> Self {
        // SAFETY: the features are proven; the caller vouches for sixteen values.
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32) {
        // SAFETY: the features are proven; the caller vouches for sixteen values.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    fn load_some(_: HasAvx512<BF16>, from: &[f32], rest: f32) -> Self {
        let mask = first(from.len());
        // SAFETY: the argument proves the features; only the values of the slice are read.
        Self(unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(rest), mask, from.as_ptr()) })
    }

    #[inline(always)]
    fn store_some(self, to: &mut [f32]) {
        // SAFETY: a vector proves the features; only the values of the slice are written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), self.0) }
    }

    #[inline(always)]
    unsafe fn load_bf16_at(_: HasAvx512<BF16>, from: *const bf16) -> Self {
        // SAFETY: the features are proven; the caller vouches for sixteen values.
        let halves = unsafe { _mm256_loadu_si256(from.cast()) };
        // SAFETY: the argument proves that the processor has the feature.
        Self(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) })
    }

    #[inline(always)]
    unsafe fn store_bf16_at(self, to: *mut bf16) {
        // SAFETY: a vector proves the features; the caller vouches for sixteen values.
        unsafe {
            let halves = if BF16 {
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0))
            } else {
                let bits = _mm512_castps_si512(self.0);
                let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let rounded =
                    _mm512_add_epi32(bits, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
                // A NaN must not become infinite
                let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
                _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_mask_mov_epi32(
                    rounded, nan, quiet,
                )))
            };
            _mm256_storeu_si256(to.cast(), halves);
        }
    }

    #[inline(always)]
    unsafe fn load_pairs_at(_: HasAvx512<BF16>, from: *const bf16) -> __m512i {
        // SAFETY: the features are proven; the caller vouches for thirty-two values.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn splat_pair(_: HasAvx512<BF16>, pair: u32) -> __m512i {
        // SAFETY: the argument proves that the processor has the feature.
        unsafe { _mm512_set1_epi32(pair.cast_signed()) }
    }

    #[inline(always)]
    fn add_products(self, a: __m512i, b: __m512i) -> Self {
        // SAFETY: a vector proves the features; vectors of one size have any bits.
        unsafe {
            if BF16 {
                let pairs = |v: __m512i| std::mem::transmute::<__m512i, __m512bh>(v);
                return Self(_mm512_dpbf16_ps(self.0, pairs(a), pairs(b)));
            }
            let low = |v| Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(v)));
            let high = |v| {
                Self(_mm512_castsi512_ps(_mm512_and_si512(
                    v,
                    _mm512_set1_epi32(-0x1_0000),
                )))
            };
            high(a).mul_add(high(b), low(a).mul_add(low(b), self))
        }
    }

    #[inline(always)]
    fn total(self) -> f32 {
        // SAFETY: a vector proves the features.
        unsafe { _mm512_reduce_add_ps(self.0) }
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

impl Avx2 {
    #[inline(always)]
    pub fn from_register(_: HasAvx2, values: __m256) -> Self {
        Self(values)
    }
}

impl Lanes for Avx2 {
    const COUNT: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    type Pairs = __m256i;

    const MULTIPLIES_PAIRS: bool = false;

    type Detected = HasAvx2;

    #[inline(always)]
    fn detected(self) -> HasAvx2 {
        HasAvx2(())
    }

    #[inline(always)]
    fn splat(_: HasAvx2, value: f32) -> Self {
        // SAFETY: the argument proves that the processor has the feature.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load_at(_: HasAvx2, from: *const f32) -> Self {
        // SAFETY: the features are proven; the caller vouches for eight values.
        Self(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32) {
        // SAFETY: the features are proven; the caller vouches for eight values.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn load_bf16_at(_: HasAvx2, from: *const bf16) -> Self {
        // SAFETY: the features are proven; the caller vouches for eight values.
        let halves = unsafe { _mm_loadu_si128(from.cast()) };
        // SAFETY: the argument proves that the processor has the feature.
        Self(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))) })
    }

    #[inline(always)]
    unsafe fn store_bf16_at(self, to: *mut bf16) {
        // SAFETY: a vector proves the features; the caller vouches for eight values.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let even = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7fff)));
            // A NaN must not become infinite
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            let wide = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            let halves = _mm_packus_epi32(
                _mm256_castsi256_si128(wide),
                _mm256_extracti128_si256::<1>(wide),
            );
            _mm_storeu_si128(to.cast(), halves);
        }
    }

    #[inline(always)]
    unsafe fn load_pairs_at(_: HasAvx2, from: *const bf16) -> __m256i {
        // SAFETY: the features are proven; the caller vouches for sixteen values.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    fn splat_pair(_: HasAvx2, pair: u32) -> __m256i {
        // SAFETY: the argument proves that the processor has the feature.
        unsafe { _mm256_set1_epi32(pair.cast_signed()) }
    }

    #[inline(always)]
    fn add_products(self, a: __m256i, b: __m256i) -> Self {
        // SAFETY: a vector is a proof that the processor has the feature.
        unsafe {
            let low = |v| Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(v)));
            let high = |v| {
                Self(_mm256_castsi256_ps(_mm256_and_si256(
                    v,
                    _mm256_set1_epi32(-0x1_0000),
                )))
            };
            high(a).mul_add(high(b), low(a).mul_add(low(b), self))
        }
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
        // SAFETY: a vector is a proof that the processor has the feature.
        unsafe {
            let two_to = |n| {
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
                    n,
                    _mm256_set1_epi32(127),
                )))
            };
            let n = _mm256_cvtps_epi32(power.0);
            let half = _mm256_srai_epi32::<1>(n);
            let rest = _mm256_sub_epi32(n, half);
            // In two steps, so that both powers are numbers of full precision.
            Self(_mm256_mul_ps(
                _mm256_mul_ps(self.0, two_to(half)),
                two_to(rest),
            ))
        }
    }
}
