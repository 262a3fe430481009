//! Numbers as vectors: of scales in the transformer, of steps in the diffusion head.

use candle_core::{Device, Tensor};

use crate::{
    Result,
    nn::{Activation, Linear, Weights},
};

/// Cosines and sines of a number.
const SINUSOIDS: usize = 256;

/// `TimestepEmbedder`: sinusoids, then two linear layers.
#[derive(Clone, Debug)]
pub(super) struct NumberEmbedding {
    first: Linear,
    second: Linear,
}

impl NumberEmbedding {
    pub(super) fn load(w: &Weights, width: usize) -> Result<Self> {
        let w = w.pp("mlp");
        Ok(Self {
            first: Linear::load(&w.pp(0), SINUSOIDS, width)?,
            second: Linear::load(&w.pp(2), width, width)?,
        })
    }

    /// (N, width) of N numbers, on the device and in the type of the network.
    pub(super) fn forward(&self, numbers: &[usize], w: &Like) -> Result<Tensor> {
        let half = SINUSOIDS / 2;
        let mut values = Vec::with_capacity(numbers.len() * SINUSOIDS);
        for number in numbers {
            let angle = |k: usize| {
                let frequency = (-(10_000f32.ln()) * k as f32 / half as f32).exp();
                *number as f32 * frequency
            };
            values.extend((0..half).map(|k| angle(k).cos()));
            values.extend((0..half).map(|k| angle(k).sin()));
        }
        let shape = (numbers.len(), SINUSOIDS);
        let x = Tensor::from_vec(values, shape, &w.device)?.to_dtype(w.dtype)?;
        let x = Activation::Silu.forward(&self.first.forward(&x)?)?;
        Ok(self.second.forward(&x)?)
    }
}

/// The device and the type of a network's activations.
#[derive(Clone, Debug)]
pub(super) struct Like {
    pub device: Device,
    pub dtype: candle_core::DType,
}

impl Like {
    /// As the activations of a network with these weights are.
    pub(super) fn of(w: &Weights) -> Self {
        Self {
            device: w.device().clone(),
            dtype: w.held_as(),
        }
    }
}
