//! Random weights.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::{
    Error, Result,
    nn::{StoredType, TensorInfo, TensorSource},
};

/// Tensors of given names and shapes with deterministic pseudo-random values, generated when they
/// are read. Matrices preserve the magnitude of their inputs and norm scales are 1, which keeps
/// activations bounded.
pub struct RandomWeights {
    shapes: BTreeMap<String, Vec<usize>>,
}

impl RandomWeights {
    /// Tensors of these names and shapes.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        Self {
            shapes: tensors.into_iter().collect(),
        }
    }
}

impl TensorSource for RandomWeights {
    fn origin(&self) -> String {
        "random weights".to_owned()
    }

    fn names(&self) -> Vec<String> {
        self.shapes.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.shapes.get(name).map(|shape| TensorInfo {
            shape: shape.clone(),
            element: StoredType::Readable(DType::F32),
        })
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let shape = self
            .shapes
            .get(name)
            .ok_or_else(|| Error::input(format!("no random tensor `{name}`")))?;
        if shape.len() == 1 && name.ends_with(".weight") {
            return Ok(Tensor::ones(shape.as_slice(), DType::F32, &Device::Cpu)?);
        }
        let inputs: usize = shape[1..].iter().product();
        let seed = name
            .bytes()
            .fold(0u64, |seed, byte| scramble(seed ^ u64::from(byte)));
        let size = (3.0 / inputs.max(1) as f32).sqrt(); // uniform values of variance 1 / inputs
        let mut values = vec![0.0f32; shape.iter().product()];
        values
            .par_chunks_mut(1 << 16)
            .enumerate()
            .for_each(|(chunk, values)| {
                let mut state = scramble(seed ^ chunk as u64);
                for value in values {
                    state = scramble(state);
                    *value = ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size;
                }
            });
        Ok(Tensor::from_vec(values, shape.as_slice(), &Device::Cpu)?)
    }
}

/// Xorshift64* (Vigna 2014), sufficient for numbers that only have to differ.
fn scramble(x: u64) -> u64 {
    let mut x = x | 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    x.wrapping_mul(0x2545_f491_4f6c_dd1d)
}
