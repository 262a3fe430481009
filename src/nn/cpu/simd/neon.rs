//! Vectors of NEON, which every 64-bit ARM processor has: two registers make a vector of eight
//! values, so that rows are cut and folded as with AVX2.

use std::arch::aarch64::*;

use half::bf16;

use super::Lanes;

/// Implements an operation by an instruction for each half.
macro_rules! operations {
    ($($name:ident($($arg:ident),*) = $instruction:ident($($order:ident),*);)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self),*) -> Self {
            let itself = self;
            // SAFETY: every processor of this architecture has the feature.
            unsafe {
                Self(
                    $instruction($(operations!(@ itself $order).0),*),
                    $instruction($(operations!(@ itself $order).1),*),
                )
            }
        }
    )*};
    (@ $itself:ident this) => { $itself };
    (@ $itself:ident $other:ident) => { $other };
}

#[derive(Clone, Copy)]
pub struct Neon(float32x4_t, float32x4_t);

impl Neon {
    #[inline(always)]
    pub fn from_registers(low: float32x4_t, high: float32x4_t) -> Self {
        Self(low, high)
    }
}

impl Lanes for Neon {
    const COUNT: usize = 8;
    // 24 of the 32 registers hold sums, 4 the weights.
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    type Pairs = (uint32x4_t, uint32x4_t);

    const MULTIPLIES_PAIRS: bool = false;

    /// Every 64-bit ARM processor has these instructions.
    type Detected = ();

    #[inline(always)]
    fn detected(self) {}

    #[inline(always)]
    fn splat((): (), value: f32) -> Self {
        // SAFETY: every processor of this architecture has the feature.
        unsafe { Self(vdupq_n_f32(value), vdupq_n_f32(value)) }
    }

    #[inline(always)]
    unsafe fn load_at((): (), from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight values.
        unsafe { Self(vld1q_f32(from), vld1q_f32(from.add(4))) }
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight values.
        unsafe {
            vst1q_f32(to, self.0);
            vst1q_f32(to.add(4), self.1);
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_at((): (), from: *const bf16) -> Self {
        // SAFETY: the caller vouches for eight values.
        unsafe {
            let halves = vld1q_u16(from.cast());
            let widened = |four| vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(four)));
            Self(
                widened(vget_low_u16(halves)),
                widened(vget_high_u16(halves)),
            )
        }
    }

    #[inline(always)]
    unsafe fn store_bf16_at(self, to: *mut bf16) {
        // SAFETY: the caller vouches for eight values.
        unsafe { vst1q_u16(to.cast(), vcombine_u16(rounded(self.0), rounded(self.1))) }
    }

    #[inline(always)]
    unsafe fn load_pairs_at((): (), from: *const bf16) -> Self::Pairs {
        // SAFETY: the caller vouches for sixteen values; their bytes come in as bytes, which may
        // lie anywhere.
        unsafe {
            let pairs = |from: *const u8| vreinterpretq_u32_u8(vld1q_u8(from));
            (pairs(from.cast()), pairs(from.add(8).cast()))
        }
    }

    #[inline(always)]
    fn splat_pair((): (), pair: u32) -> Self::Pairs {
        // SAFETY: every processor of this architecture has the feature.
        unsafe { (vdupq_n_u32(pair), vdupq_n_u32(pair)) }
    }

    #[inline(always)]
    fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self {
        // SAFETY: every processor of this architecture has the feature.
        unsafe {
            Self(
                add_products(self.0, a.0, b.0),
                add_products(self.1, a.1, b.1),
            )
        }
    }

    operations! {
        add(other) = vaddq_f32(this, other);
        sub(other) = vsubq_f32(this, other);
        mul(other) = vmulq_f32(this, other);
        div(other) = vdivq_f32(this, other);
        mul_add(factor, term) = vfmaq_f32(term, this, factor);
        at_least(bound) = greater(this, bound);
        at_most(bound) = smaller(this, bound);
        times_two_to(power) = times_two_to(this, power);
    }
}

/// `vmaxq_f32` would also pass on a NaN of the bound, and takes 0 for greater than -0.
#[inline]
#[target_feature(enable = "neon")]
fn greater(value: float32x4_t, bound: float32x4_t) -> float32x4_t {
    vbslq_f32(vcltq_f32(value, bound), bound, value)
}

#[inline]
#[target_feature(enable = "neon")]
fn smaller(value: float32x4_t, bound: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(value, bound), bound, value)
}

#[inline]
#[target_feature(enable = "neon")]
fn times_two_to(value: float32x4_t, power: float32x4_t) -> float32x4_t {
    let two_to = |n| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))));
    let n = vcvtq_s32_f32(power);
    let half = vshrq_n_s32::<1>(n);
    // In two steps, so that both powers are numbers of full precision.
    vmulq_f32(vmulq_f32(value, two_to(half)), two_to(vsubq_s32(n, half)))
}

/// To the nearest bf16, of two as near the even one.
#[inline]
#[target_feature(enable = "neon")]
fn rounded(value: float32x4_t) -> uint16x4_t {
    let bits = vreinterpretq_u32_f32(value);
    let even = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
    let up = vaddq_u32(bits, vaddq_u32(even, vdupq_n_u32(0x7fff)));
    let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000)); // a NaN must not become infinite
    vshrn_n_u32::<16>(vbslq_u32(vceqq_f32(value, value), up, quiet))
}

#[inline]
#[target_feature(enable = "neon")]
fn add_products(sum: float32x4_t, a: uint32x4_t, b: uint32x4_t) -> float32x4_t {
    let low = |pairs| vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs));
    let high = |pairs| vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff_0000)));
    vfmaq_f32(vfmaq_f32(sum, low(a), low(b)), high(a), high(b))
}
