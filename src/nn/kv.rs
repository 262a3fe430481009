//! The keys and values that attention layers keep between scales.

use candle_core::{DType, Result, Tensor};

/// Keys and values of some tokens of one candidate.
#[derive(Clone, Debug)]
pub struct Kv {
    /// (T, C), contiguous, f32 or bf16
    pub k: Tensor,
    /// (T, C), contiguous, of the same type
    pub v: Tensor,
}

impl Kv {
    /// The same, rounded to `dtype`.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            k: self.k.to_dtype(dtype)?,
            v: self.v.to_dtype(dtype)?,
        })
    }
}
