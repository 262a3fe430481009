//! The data types that weights are kept in.

use std::fmt;

use candle_core::DType;
use serde::{Deserialize, Serialize};

/// The data type in which the matrices of linear layers are kept. It decides that of everything
/// else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floating point.
    #[default]
    F32,
    /// bfloat16: half the memory.
    Bf16,
    /// Integers of 8 bits with a scale for each 32 of them, as in GGUF's `q8_0`: little more
    /// than a quarter of the memory. On the CPU alone.
    Q8,
}

impl Dtype {
    /// All data types.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Q8];

    /// The name in options and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        }
    }

    /// The type of convolutions and their feature maps, of the keys and values that are kept for later
    /// scales, and of tensors on a GPU. Convolutions are not quantised: a decoder has few weights, and
    /// errors in them are visible.
    pub fn of_activations(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 | Self::Q8 => DType::BF16,
        }
    }

    /// About the bytes that a matrix of this many values takes.
    pub fn bytes(self, values: usize) -> u64 {
        let values = values as u64;
        match self {
            Self::F32 => 4 * values,
            Self::Bf16 => 2 * values,
            Self::Q8 => values + values / 16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
