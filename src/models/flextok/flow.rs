//! From noise to a latent along the flow, with guidance.

use candle_core::{DType, Device, Tensor};

use super::FlowDecoder;
use crate::{Error, Result, nn::check_finite};

/// Guidance of the flow.
pub struct FlowGuidance<'a> {
    /// Its weight at a time: 1 is none.
    pub weight: &'a dyn Fn(f64) -> f64,
    /// Adaptive projected guidance instead of the plain one.
    pub projected: bool,
}

impl FlowDecoder {
    /// Latents (B, C, h, w) from noise (B, C, h, w), standard normal, and the registers of each
    /// latent, (B, K, D), in so many equal steps. `watch` receives the noisy latents before each
    /// step with its time. In main memory, f32.
    ///
    /// # Errors
    /// The shapes do not fit the network, or there are no steps.
    pub fn sample(
        &self,
        noise: &Tensor,
        registers: &Tensor,
        steps: usize,
        guidance: &FlowGuidance,
        watch: &mut dyn FnMut(f64, &Tensor),
    ) -> Result<Tensor> {
        if steps == 0 {
            return Err(Error::internal("a flow without steps"));
        }
        let rows = noise.dims()[0];
        let (device, dtype) = self.place();
        let null = self.null_condition()?.unsqueeze(0)?;
        let (_, count, width) = null.dims3()?;
        let null = null.broadcast_as((rows, count, width))?;
        let both = Tensor::cat(&[registers, &null.contiguous()?], 0)?; // (2 B, K, D)
        let mut apg: Vec<Apg> = vec![Apg::released(); rows];
        let mut x = noise.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        for i in (1..=steps).rev() {
            let t = i as f64 / steps as f64;
            watch(t, &x);
            let weight = (guidance.weight)(t);
            let input = x.to_dtype(dtype)?.to_device(device)?;
            let v = match weight == 1.0 {
                true => on_host(&self.velocity(&input, t, registers, &mut |_, _, _| ())?)?,
                false => {
                    let input = Tensor::cat(&[&input, &input], 0)?;
                    let v = on_host(&self.velocity(&input, t, &both, &mut |_, _, _| ())?)?;
                    let conditional = v.narrow(0, 0, rows)?;
                    let unconditional = v.narrow(0, rows, rows)?;
                    match guidance.projected {
                        true => projected(&mut apg, &conditional, &unconditional, weight)?,
                        false => plain_guidance(&conditional, &unconditional, weight)?,
                    }
                }
            };
            x = (x - (v / steps as f64)?)?;
        }
        check_finite("the latent of the flow", &x)?;
        Ok(x)
    }
}

fn on_host(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
}

/// `unconditional + weight * (conditional - unconditional)`
///
/// # Errors
/// The shapes differ.
pub fn plain_guidance(
    conditional: &Tensor,
    unconditional: &Tensor,
    weight: f64,
) -> candle_core::Result<Tensor> {
    unconditional + ((conditional - unconditional)? * weight)?
}

/// Guides each row by itself.
fn projected(
    apg: &mut [Apg],
    conditional: &Tensor,
    unconditional: &Tensor,
    weight: f64,
) -> Result<Tensor> {
    let rows = apg.len();
    let conditional_rows = conditional.reshape((rows, ()))?.to_vec2::<f32>()?;
    let unconditional_rows = unconditional.reshape((rows, ()))?.to_vec2::<f32>()?;
    let mut guided = Vec::with_capacity(conditional.elem_count());
    let pairs = conditional_rows.iter().zip(&unconditional_rows);
    for (apg, (conditional, unconditional)) in apg.iter_mut().zip(pairs) {
        guided.extend(apg.guide(conditional, unconditional, weight));
    }
    Ok(Tensor::from_vec(guided, conditional.dims(), &Device::Cpu)?)
}

/// Adaptive projected guidance (arXiv 2410.02416) of one latent (`cfg_utils.py`, lines 10-66): the
/// difference of the branches is limited in length and loses its part along the conditional one.
#[derive(Clone, Debug, PartialEq)]
pub struct Apg {
    /// Factor of the differences of the steps before.
    pub momentum: f32,
    /// The largest length of the difference; 0 is none.
    pub threshold: f32,
    /// The share that is kept of the part along the conditional velocity.
    pub eta: f64,
    /// The running sum of the differences, without limit.
    pub running: Vec<f32>,
}

impl Apg {
    /// The released settings.
    pub fn released() -> Self {
        Self {
            momentum: -0.5,
            threshold: 2.5,
            eta: 0.0,
            running: vec![],
        }
    }

    /// The guided velocity of a step.
    pub fn guide(&mut self, conditional: &[f32], unconditional: &[f32], weight: f64) -> Vec<f32> {
        self.running.resize(conditional.len(), 0.0);
        let branches = conditional.iter().zip(unconditional);
        for (running, (conditional, unconditional)) in self.running.iter_mut().zip(branches) {
            *running = (conditional - unconditional) + self.momentum * *running;
        }
        let shrink = match self.threshold > 0.0 {
            true => (f64::from(self.threshold) / length(&self.running)).min(1.0),
            false => 1.0,
        };
        let difference: Vec<f64> = self
            .running
            .iter()
            .map(|value| f64::from(*value) * shrink)
            .collect();
        let norm = length(conditional).max(f64::MIN_POSITIVE);
        let along: f64 = difference
            .iter()
            .zip(conditional)
            .map(|(difference, conditional)| difference * f64::from(*conditional) / norm)
            .sum();
        let removed = along * (1.0 - self.eta) / norm;
        let guided = |(difference, conditional): (&f64, &f32)| {
            let conditional = f64::from(*conditional);
            (conditional + (weight - 1.0) * (difference - removed * conditional)) as f32
        };
        difference.iter().zip(conditional).map(guided).collect()
    }
}

fn length(x: &[f32]) -> f64 {
    let squares = x.iter().map(|value| f64::from(*value).powi(2));
    squares.sum::<f64>().sqrt()
}
