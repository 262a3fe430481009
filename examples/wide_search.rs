//! The memory of a wide search with Switti, whose candidates are latents and nothing else: runs N
//! candidates with random weights through all scales, decodes the first one, and prints the planned
//! and the measured peak. One N per process, since a peak does not fall.
//!
//! `cargo run --release --example wide_search -- 64 switti-1024-d4`

use std::{env, time::Instant};

use candle_core::Device;
use ttsvar::{
    Result,
    error::Error,
    loading::Dtype,
    options::Options,
    pipelines::architecture,
    process::peak_bytes,
    search::{DecodeSize, Workload},
};

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let n = arguments.next().unwrap_or_else(|| "64".to_owned());
    let n: usize = n
        .parse()
        .map_err(|_| Error::input(format!("expected a number of candidates, found `{n}`")))?;
    let name = arguments.next();
    let name = name.as_deref().unwrap_or("switti-1024-d4");

    let model = architecture(name)?.build(Dtype::F32, &Device::Cpu)?;
    // One candidate at a time runs through the network.
    let pipeline = model.pipeline(&Options::default(), 1)?;
    let scales = pipeline.scales().len();
    let mut decodes = vec![0; scales];
    decodes[scales - 1] = 1;
    let planned = pipeline.estimate(&Workload {
        widths: vec![n; scales],
        suspended: vec![0; scales],
        decodes,
        size: DecodeSize::Full,
    });

    let start = Instant::now();
    let mut rollout = pipeline.begin(&model.prompt().as_str().into(), 0..n, 0)?;
    for _ in 0..scales {
        rollout.step()?;
    }
    let images = rollout.images(&[0], DecodeSize::Full)?;
    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!(
        "{name}, N = {n}, {} pixels: planned {} MB, measured {:?} MB, {:.0} s",
        images[0].width(),
        megabytes(planned.peak_bytes),
        peak_bytes().map(megabytes),
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}
