//! Single operations at the shapes that the last scale of a picture has, with guidance: two rows.

use std::{sync::Arc, time::Instant};

use candle_core::{DType, Device, Tensor};

use super::{Architecture, MadeUp};
use crate::{
    Result,
    models::infinity::Schedule,
    nn::{
        Activation, Conv2d, FeatureMap, GroupNorm, Kv, Linear, UpsampleConv, Weights,
        attention_blocks, modulate,
    },
};

/// An operation and the shortest of its runs in seconds.
pub type Timed = (&'static str, f64);

const CHANNELS: usize = 128; // of the decoder at full size
const MOST_PIXELS: usize = 256;
const LEAST_SECONDS: f64 = 0.5;

/// Times the operations that the peer times with `--ops`.
///
/// # Errors
/// The device has no room for them.
pub fn time_ops(
    arch: Architecture,
    schedule: &Schedule,
    dtype: DType,
    device: &Device,
) -> Result<Vec<Timed>> {
    let config = arch.transformer();
    let (c, hidden) = (config.width, config.hidden);
    let tokens = schedule
        .grids
        .last()
        .map_or(1, |(height, width)| height * width);
    let side = (16 * schedule.grids.last().map_or(1, |grid| grid.1)).min(MOST_PIXELS);
    let weights = |tensors: &[(&str, &[usize])]| {
        let tensors = tensors
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
        Weights::new(Arc::new(MadeUp::new(tensors)), dtype, device)
    };
    let held = weights(&[]).held_as();
    let made = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, device)?.to_dtype(held);
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
    let x = made(&[2, tokens, c])?;
    let (fc1, qkv) = (linear(c, hidden)?, linear(c, 3 * c)?);
    let seen = [schedule.tokens(), c];
    let kv = || {
        Kv {
            k: made(&seen)?,
            v: made(&seen)?,
        }
        .to_dtype(dtype)
    };
    let kv = [kv()?, kv()?];
    let kv: Vec<Vec<&Kv>> = kv.iter().map(|kv| vec![kv]).collect();
    let (scale, shift, wide) = (made(&[c])?, made(&[c])?, made(&[2, tokens, hidden])?);
    let picture = FeatureMap::kept_as(dtype, &made(&[1, CHANNELS, side, side])?)?;
    let coarse = FeatureMap::kept_as(dtype, &made(&[1, 2 * CHANNELS, side / 2, side / 2])?)?;
    let (same, up) = (
        Conv2d::load_for_large_maps(&conv(CHANNELS), 1, 1)?,
        UpsampleConv::load(&conv(2 * CHANNELS))?,
    );
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
        ("conv", seconds(&|| same.forward(&picture).map(drop))?),
        ("upsample", seconds(&|| up.forward(&coarse).map(drop))?),
        (
            "group_norm_silu",
            seconds(&|| norm.forward(&picture).map(drop))?,
        ),
    ])
}

/// The shortest of several runs after one that warms up. A GPU is waited for before the clock is
/// read.
fn seconds(device: &Device, op: &dyn Fn() -> candle_core::Result<()>) -> Result<f64> {
    let (mut best, mut spent, mut runs) = (f64::INFINITY, 0.0, 0);
    op()?;
    while runs < 3 || spent < LEAST_SECONDS {
        device.synchronize()?;
        let began = Instant::now();
        op()?;
        device.synchronize()?;
        let took = began.elapsed().as_secs_f64();
        (best, spent, runs) = (f64::min(best, took), spent + took, runs + 1);
    }
    Ok(best)
}
