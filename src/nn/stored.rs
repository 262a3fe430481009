//! The types that weights, keys and values are kept in. Sums are taken in f32 in any case.

use candle_core::CpuStorage;
use half::bf16;

use super::simd::Lanes;

/// Weights in one of the types.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

/// A type that weights are kept in.
pub(super) trait Weight: Copy + Default + Send + Sync + 'static {
    fn rounded(value: f32) -> Self;

    fn value(self) -> f32;

    /// The numbers of a tensor, if they are of this type.
    fn of(storage: &CpuStorage) -> Option<&[Self]>;

    /// # Safety
    /// `L::COUNT` values can be read at `from`.
    unsafe fn load<L: Lanes>(from: *const Self) -> L;
}

impl Weight for f32 {
    fn rounded(value: f32) -> Self {
        value
    }

    fn value(self) -> f32 {
        self
    }

    fn of(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::F32(values) = storage { Some(values) } else { None }
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: the caller vouches for it.
        unsafe { L::load_at(from) }
    }
}

impl Weight for bf16 {
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn value(self) -> f32 {
        self.to_f32()
    }

    fn of(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::BF16(values) = storage { Some(values) } else { None }
    }

    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: the caller vouches for it.
        unsafe { L::load_bf16_at(from) }
    }
}

impl Values {
    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::F32(values) => size_of_val(&values[..]),
            Self::Bf16(values) => size_of_val(&values[..]),
        };
        bytes as u64
    }
}
