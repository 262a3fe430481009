//! Sums of products of bytes with NEON, with and without its instruction for them.

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
