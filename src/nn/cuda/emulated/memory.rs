//! Memory for kernels: aligned, with a border of NaN on both sides that must stay as it is.

use half::bf16;

use crate::nn::cuda::{Scalar, calls::ALIGNMENT};

/// Words of the border on each side.
const BORDER: usize = 8;
/// NaN in bf16 and in f32.
const UNTOUCHED: u128 = u128::MAX;

/// Some numbers. Every word is aligned as kernels want their tensors.
pub struct Memory {
    words: Vec<u128>,
    bytes: usize,
}

impl Memory {
    /// These numbers, rounded to the type.
    pub fn from_values(values: &[f32], scalar: Scalar) -> Self {
        Self::bytes(&match scalar {
            Scalar::Bf16 => values
                .iter()
                .flat_map(|v| bf16::from_f32(*v).to_ne_bytes())
                .collect::<Vec<u8>>(),
            Scalar::F32 => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        })
    }

    pub fn of_addresses(addresses: &[u64]) -> Self {
        Self::bytes(
            &addresses
                .iter()
                .flat_map(|v| v.to_ne_bytes())
                .collect::<Vec<u8>>(),
        )
    }

    /// NaN until a kernel writes numbers.
    pub fn room(count: usize, scalar: Scalar) -> Self {
        Self::from_values(&vec![f32::NAN; count], scalar)
    }

    fn bytes(bytes: &[u8]) -> Self {
        let mut words = vec![UNTOUCHED; bytes.len().div_ceil(16) + 2 * BORDER];
        for (word, bytes) in words[BORDER..].iter_mut().zip(bytes.chunks(16)) {
            let mut whole = UNTOUCHED.to_ne_bytes();
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u128::from_ne_bytes(whole);
        }
        Self {
            words,
            bytes: bytes.len(),
        }
    }

    pub fn address(&self) -> u64 {
        let address = self.words[BORDER..].as_ptr() as u64;
        assert!(address.is_multiple_of(ALIGNMENT));
        address
    }

    /// # Panics
    /// A kernel wrote beside its memory.
    pub fn values(&self, scalar: Scalar) -> Vec<f32> {
        // SAFETY: kernels write through `address` while this holds only the vector; what they write
        // is read afresh.
        let words: Vec<u128> = (0..self.words.len())
            .map(|i| unsafe { self.words.as_ptr().add(i).read_volatile() })
            .collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (before, rest) = bytes.split_at(16 * BORDER);
        let (own, behind) = rest.split_at(self.bytes);
        assert!(
            before.iter().chain(behind).all(|byte| *byte == u8::MAX),
            "a kernel wrote beside its memory"
        );
        match scalar {
            Scalar::Bf16 => own
                .as_chunks()
                .0
                .iter()
                .map(|v| bf16::from_ne_bytes(*v).to_f32())
                .collect(),
            Scalar::F32 => own
                .as_chunks()
                .0
                .iter()
                .map(|v| f32::from_ne_bytes(*v))
                .collect(),
        }
    }
}
