//! Times of the flow as vectors.

use candle_core::{Device, Tensor};

use crate::{
    Result,
    nn::{Activation, Linear, Weights},
};

/// The ratio of the longest period to the shortest.
const PERIODS: f32 = 256.0;

/// The number of units in which times are counted.
const UNITS: f64 = 1000.0;

/// Cosines, then sines, of a time at `width / 2` frequencies; a zero follows if `width` is odd.
pub fn sinusoid(t: f32, width: usize, max_timestep: f64) -> Vec<f32> {
    let half = width / 2;
    let unit = (UNITS / max_timestep) as f32;
    let step = -PERIODS.ln() / half as f32;
    let angles = (0..half).map(|i| unit * t * (step * i as f32).exp());
    let angles: Vec<f32> = angles.collect();
    let mut features: Vec<f32> = angles.iter().map(|angle| angle.cos()).collect();
    features.extend(angles.iter().map(|angle| angle.sin()));
    features.resize(width, 0.0);
    features
}

/// A time as a vector of the network.
#[derive(Clone, Debug)]
pub(super) struct TimeEmbedder {
    fc1: Linear,
    fc2: Linear,
    max_timestep: f64,
    device: Device,
}

impl TimeEmbedder {
    /// Reads `mlp.0` and `mlp.2` below `w`.
    pub fn load(w: &Weights, width: usize, max_timestep: f64) -> Result<Self> {
        let [_, features] = w.dims("mlp.0.weight")?;
        Ok(Self {
            fc1: Linear::load(&w.pp("mlp.0"), features, width)?,
            fc2: Linear::load(&w.pp("mlp.2"), width, width)?,
            max_timestep,
            device: w.device().clone(),
        })
    }

    /// A time from 0 to 1 -> (1, D)
    pub fn forward(&self, t: f64, like: &Tensor) -> Result<Tensor> {
        let width = self.fc1.inputs();
        let features = sinusoid(t as f32, width, self.max_timestep);
        let features = Tensor::from_vec(features, (1, width), &Device::Cpu)?;
        let features = features.to_dtype(like.dtype())?.to_device(&self.device)?;
        let hidden = Activation::Silu.forward(&self.fc1.forward(&features)?)?;
        Ok(self.fc2.forward(&hidden)?)
    }
}
