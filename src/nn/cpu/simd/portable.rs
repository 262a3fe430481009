//! Vectors without special instructions.

use half::bf16;

use super::Lanes;

/// Arrays that any compiler turns into what the machine is known to have.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    pub(super) fn from_values(values: [f32; 8]) -> Self {
        Self(values)
    }

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

    type Pairs = [u32; 8];

    const MULTIPLIES_PAIRS: bool = false;

    /// Any processor will do.
    type Detected = ();

    #[inline(always)]
    fn detected(self) {}

    #[inline(always)]
    fn splat((): (), value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load_at((): (), from: *const f32) -> Self {
        // SAFETY: the caller vouches for eight values; an array of f32 needs no more than their
        // alignment.
        Self(unsafe { from.cast::<[f32; 8]>().read() })
    }

    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32) {
        // SAFETY: the caller vouches for eight values.
        unsafe { to.cast::<[f32; 8]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn load_bf16_at((): (), from: *const bf16) -> Self {
        // SAFETY: the caller vouches for eight values; an array of them needs no more than their
        // alignment.
        Self(unsafe { from.cast::<[bf16; 8]>().read() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn store_bf16_at(self, to: *mut bf16) {
        // SAFETY: the caller vouches for eight values; an array of them needs no more than their
        // alignment.
        unsafe { to.cast::<[bf16; 8]>().write(self.0.map(bf16::from_f32)) }
    }

    #[inline(always)]
    unsafe fn load_pairs_at((): (), from: *const bf16) -> [u32; 8] {
        // SAFETY: the caller vouches for sixteen values.
        unsafe { from.cast::<[u32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    fn splat_pair((): (), pair: u32) -> [u32; 8] {
        [pair; 8]
    }

    #[inline(always)]
    fn add_products(self, a: [u32; 8], b: [u32; 8]) -> Self {
        // The bits of a bf16 are the upper half of those of the same number in f32.
        let low = |pairs: [u32; 8]| Self(pairs.map(|pair| f32::from_bits(pair << 16)));
        let high = |pairs: [u32; 8]| Self(pairs.map(|pair| f32::from_bits(pair & 0xffff_0000)));
        high(a).mul_add(high(b), low(a).mul_add(low(b), self))
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
