//! Single operations at the shapes of the last scale of an image, with guidance: two rows.

use std::{sync::Arc, time::Instant};

use candle_core::{Device, Tensor};

use super::Architecture;
use crate::{
    Result,
    loading::RandomWeights,
    nn::{
        Activation, Conv2d, Dtype, FeatureMap, GroupNorm, Kv, Linear, UpsampleConv, Weights,
        attention_blocks, modulate,
    },
    options::Options,
    pipelines::infinity::released_schedule,
};

/// The name of an operation and the seconds of its shortest run.
pub type Timed = (&'static str, f64);

const CHANNELS: usize = 128; // of the decoder at full size
const MOST_PIXELS: usize = 256;
const LEAST_SECONDS: f64 = 0.5;

/// Times the operations that the reference program times with `--ops`.
///
/// # Errors
/// The device does not have enough memory.
pub fn time_ops(
    arch: Architecture,
    options: &Options,
    dtype: Dtype,
    device: &Device,
) -> Result<Vec<Timed>> {
    let schedule = released_schedule(options)?;
    let config = arch.transformer();
    let c = config.width;
    let hidden = config.hidden;
    let tokens = schedule
        .grids
        .last()
        .map_or(1, |(height, width)| height * width);
    let side = (16 * schedule.grids.last().map_or(1, |grid| grid.1)).min(MOST_PIXELS);
    let weights = |tensors: &[(&str, &[usize])]| {
        let tensors = tensors
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
        Weights::new(Arc::new(RandomWeights::new(tensors)), dtype, device)
    };
    let held = weights(&[]).held_as();
    let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, device)?.to_dtype(held);
    let linear = |inputs: usize, outputs: usize| {
        Linear::load(
            &weights(&[("weight", &[outputs, inputs]), ("bias", &[outputs])]),
            inputs,
            outputs,
        )
    };
    let conv = |channels: usize| {
        weights(&[
            ("weight", &[channels, channels, 3, 3]),
            ("bias", &[channels]),
        ])
    };
    let x = random(&[2, tokens, c])?;
    let fc1 = linear(c, hidden)?;
    let qkv = linear(c, 3 * c)?;
    let seen = [schedule.tokens(), c];
    let kv = || {
        Kv {
            k: random(&seen)?,
            v: random(&seen)?,
        }
        .to_dtype(dtype.of_activations())
    };
    let kv = [kv()?, kv()?];
    let kv: Vec<Vec<&Kv>> = kv.iter().map(|kv| vec![kv]).collect();
    let scale = random(&[c])?;
    let shift = random(&[c])?;
    let wide = random(&[2, tokens, hidden])?;
    let fine = FeatureMap::kept_as(dtype.of_activations(), &random(&[1, CHANNELS, side, side])?)?;
    let coarse = FeatureMap::kept_as(
        dtype.of_activations(),
        &random(&[1, 2 * CHANNELS, side / 2, side / 2])?,
    )?;
    let same = Conv2d::load_for_large_maps(&conv(CHANNELS), 1, 1)?;
    let up = UpsampleConv::load(&conv(2 * CHANNELS))?;
    let norm = weights(&[("weight", &[CHANNELS]), ("bias", &[CHANNELS])]);
    let norm = GroupNorm::load(&norm, |_| Some(32), 1e-6, Some(Activation::Silu))?;
    let seconds = |op: &dyn Fn() -> candle_core::Result<()>| seconds(device, op);
    Ok(vec![
        ("linear", seconds(&|| fc1.forward(&x).map(drop))?),
        ("qkv", seconds(&|| qkv.forward(&x).map(drop))?),
        (
            "attention",
            seconds(&|| attention_blocks(&x, &kv, config.heads, 1.0, None).map(drop))?,
        ),
        (
            "modulate",
            seconds(&|| modulate(&x, &scale, &shift, 1e-6).map(drop))?,
        ),
        (
            "gelu",
            seconds(&|| Activation::GeluTanh.forward(&wide).map(drop))?,
        ),
        ("conv", seconds(&|| same.forward(&fine).map(drop))?),
        ("upsample", seconds(&|| up.forward(&coarse).map(drop))?),
        (
            "group_norm_silu",
            seconds(&|| norm.forward(&fine).map(drop))?,
        ),
    ])
}

/// The shortest of several runs after a warm-up. The clock is read after the GPU has finished.
fn seconds(device: &Device, op: &dyn Fn() -> candle_core::Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    let mut spent = 0.0;
    let mut runs = 0;
    op()?;
    while runs < 3 || spent < LEAST_SECONDS {
        device.synchronize()?;
        let began = Instant::now();
        op()?;
        device.synchronize()?;
        let took = began.elapsed().as_secs_f64();
        best = f64::min(best, took);
        spent += took;
        runs += 1;
    }
    Ok(best)
}
