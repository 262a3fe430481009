//! Helpers that the tests of layers share: numbers that are the same in every run, and the distance
//! of two results.

use candle_core::{Device, Shape, Tensor};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{RngCore, SeedableRng},
};
use std::{cell::RefCell, f64::consts::TAU};

/// Normally distributed numbers from a fixed seed.
pub struct Noise(RefCell<ChaCha12Rng>);

impl Noise {
    pub fn seeded(seed: u64) -> Self {
        Self(RefCell::new(ChaCha12Rng::seed_from_u64(seed)))
    }

    /// The next numbers, in this shape (Box & Muller 1958).
    pub fn tensor(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let mut rng = self.0.borrow_mut();
        let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0);
        let values = (0..shape.elem_count())
            .map(|_| ((-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos()) as f32);
        let values: Vec<f32> = values.collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

/// The largest absolute difference of two tensors of one shape.
pub fn difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b)
        .unwrap()
        .abs()
        .unwrap()
        .flatten_all()
        .unwrap()
        .max(0)
        .unwrap()
        .to_scalar()
        .unwrap()
}
