//! The diffusion head: a small network that turns noise into what the codes of the last scale leave
//! over, for each token by itself (`diffloss.py`, `gaussian_diffusion.py`, `respace.py`).

use std::f64::consts::FRAC_PI_2;

use candle_core::{D, Device, Tensor};

use super::{
    config::{Config, TRAINED_STEPS},
    embedding::{Like, NumberEmbedding},
    transformer::is_guided,
};
use crate::{
    Result, interrupt,
    nn::{Activation, LayerNorm, Linear, Weights, modulate},
};

const EPS: f32 = 1e-6;

/// The size of what is left over in the units of the head.
const RESIDUAL: f32 = 0.6;

/// Largest variance of a step.
const MOST_BETA: f64 = 0.999;

/// Constants of the kept steps, from the least noisy one.
#[derive(Clone, Debug)]
pub struct NoiseSchedule {
    /// Numbers of the kept steps among those of the training.
    pub steps: Vec<usize>,
    /// Variances of the steps.
    pub betas: Vec<f64>,
    /// Shares of the image in the noisy image.
    pub alphas_cumprod: Vec<f64>,
    /// Factor of the noisy image in the estimate of the image.
    pub sqrt_recip_alphas_cumprod: Vec<f64>,
    /// Factor of the noise in that estimate.
    pub sqrt_recipm1_alphas_cumprod: Vec<f64>,
    /// Logarithms of the posterior variances; the first is replaced by the second.
    pub posterior_log_variance_clipped: Vec<f64>,
    /// Factor of the estimated image in the posterior mean.
    pub posterior_mean_coef1: Vec<f64>,
    /// Factor of the noisy image in that mean.
    pub posterior_mean_coef2: Vec<f64>,
}

impl NoiseSchedule {
    /// The cosine schedule of 1000 steps, shortened to `count` of them.
    pub fn cosine(count: usize) -> Self {
        let trained = trained_alphas();
        let steps = kept_steps(count);
        let mut schedule = Self {
            steps,
            betas: vec![],
            alphas_cumprod: vec![],
            sqrt_recip_alphas_cumprod: vec![],
            sqrt_recipm1_alphas_cumprod: vec![],
            posterior_log_variance_clipped: vec![],
            posterior_mean_coef1: vec![],
            posterior_mean_coef2: vec![],
        };
        let mut kept_before = 1.0;
        let mut before = 1.0;
        let mut variances = vec![];
        for step in schedule.steps.clone() {
            let beta = 1.0 - trained[step] / kept_before;
            kept_before = trained[step];
            let alphas = before * (1.0 - beta);
            variances.push(beta * (1.0 - before) / (1.0 - alphas));
            schedule.betas.push(beta);
            schedule.alphas_cumprod.push(alphas);
            let recip = 1.0 / alphas;
            schedule.sqrt_recip_alphas_cumprod.push(recip.sqrt());
            schedule
                .sqrt_recipm1_alphas_cumprod
                .push((recip - 1.0).sqrt());
            let mean1 = beta * before.sqrt() / (1.0 - alphas);
            let mean2 = (1.0 - before) * (1.0 - beta).sqrt() / (1.0 - alphas);
            schedule.posterior_mean_coef1.push(mean1);
            schedule.posterior_mean_coef2.push(mean2);
            before = alphas;
        }
        variances[0] = variances.get(1).copied().unwrap_or(variances[0]);
        schedule.posterior_log_variance_clipped = variances.into_iter().map(f64::ln).collect();
        schedule
    }
}

/// Shares of the image after each step of the training.
fn trained_alphas() -> Vec<f64> {
    let share = |step: usize| {
        let time = step as f64 / TRAINED_STEPS as f64;
        ((time + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2)
    };
    let mut alphas = 1.0;
    let mut all = vec![];
    for step in 0..TRAINED_STEPS {
        let beta = (1.0 - share(step + 1) / share(step)).min(MOST_BETA);
        alphas *= 1.0 - beta;
        all.push(alphas);
    }
    all
}

/// Evenly spaced steps from the first to the last. As in the original, the stride is added up, and
/// halves are rounded to even numbers.
fn kept_steps(count: usize) -> Vec<usize> {
    let stride = (TRAINED_STEPS - 1) as f64 / (count.max(2) - 1) as f64;
    let mut position = 0.0f64;
    let mut steps = vec![];
    for _ in 0..count {
        steps.push(position.round_ties_even() as usize);
        position += stride;
    }
    steps
}

/// A block of the head.
#[derive(Clone, Debug)]
struct Block {
    in_ln: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
    modulation: Linear,
}

/// What a step computed, for comparisons.
pub struct Step<'a> {
    /// The number of the step, from the noisiest.
    pub index: usize,
    /// The output of the network after guidance: (N, 2Z)
    pub output: &'a [f32],
    /// The estimate of the result: (N, Z)
    pub estimate: &'a [f32],
    /// The noisy result that the next step reads: (N, Z)
    pub sample: &'a [f32],
}

/// The head.
#[derive(Clone, Debug)]
pub struct DiffusionHead {
    time_embed: NumberEmbedding,
    cond_embed: Linear,
    input_proj: Linear,
    blocks: Vec<Block>,
    end_modulation: Linear,
    end: Linear,
    no_scale: Tensor, // zeros (width)
    values: usize,
    schedule: NoiseSchedule,
    like: Like,
}

impl DiffusionHead {
    /// Reads the head below `w`.
    pub(super) fn load(w: &Weights, config: &Config) -> Result<Self> {
        let width = config.head_width;
        let block = |i: usize| {
            let w = w.pp("res_blocks").pp(i);
            Ok(Block {
                in_ln: LayerNorm::load(&w.pp("in_ln"), width, EPS)?,
                mlp_in: Linear::load(&w.pp("mlp.0"), width, width)?,
                mlp_out: Linear::load(&w.pp("mlp.2"), width, width)?,
                modulation: Linear::load(&w.pp("adaLN_modulation.1"), width, 3 * width)?,
            })
        };
        let end = w.pp("final_layer");
        let like = Like::of(w);
        Ok(Self {
            time_embed: NumberEmbedding::load(&w.pp("time_embed"), width)?,
            cond_embed: Linear::load(&w.pp("cond_embed"), config.width, width)?,
            input_proj: Linear::load(&w.pp("input_proj"), config.code_width, width)?,
            blocks: (0..config.head_depth).map(block).collect::<Result<_>>()?,
            end_modulation: Linear::load(&end.pp("adaLN_modulation.1"), width, 2 * width)?,
            end: Linear::load(&end.pp("linear"), width, 2 * config.code_width)?,
            no_scale: Tensor::zeros(width, like.dtype, &like.device)?,
            values: config.code_width,
            schedule: NoiseSchedule::cosine(config.steps),
            like,
        })
    }

    /// The steps.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// Normal numbers that a draw for this many tokens needs: the start, and each step but the last.
    pub fn noise(&self, tokens: usize) -> usize {
        self.schedule.steps.len() * tokens * self.values
    }

    /// Steps as vectors: (N, width)
    pub fn time(&self, steps: &[usize]) -> Result<Tensor> {
        self.time_embed.forward(steps, &self.like)
    }

    /// Conditions (N, C) as vectors (N, width)
    pub fn condition(&self, z: &Tensor) -> Result<Tensor> {
        Ok(self.cond_embed.forward(z)?)
    }

    /// The noise in x (N, Z) and its variance: (N, 2Z). `y` (N, width) are step and condition.
    /// `watch` receives the output (N, width) of every block.
    pub fn predict(
        &self,
        x: &Tensor,
        y: &Tensor,
        watch: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let active = Activation::Silu.forward(y)?;
        let mut h = self.input_proj.forward(x)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let parts = block.modulation.forward(&active)?.chunk(3, D::Minus1)?;
            let out = modulated(&block.in_ln.forward(&h)?, &parts[1], &parts[0])?;
            let out = Activation::Silu.forward(&block.mlp_in.forward(&out)?)?;
            h = (h + (&parts[2] * block.mlp_out.forward(&out)?)?)?;
            watch(i, &h);
        }
        let parts = self.end_modulation.forward(&active)?.chunk(2, D::Minus1)?;
        let plain = modulate(&h, &self.no_scale, &self.no_scale, EPS)?;
        Ok(self
            .end
            .forward(&modulated(&plain, &parts[1], &parts[0])?)?)
    }

    /// Draws what is left over, (N, Z), under the conditions z (N, C) of each branch. `noise` has
    /// [`DiffusionHead::noise`] numbers, step by step.
    ///
    /// As in the original, a weight of guidance of exactly 1 turns guidance off.
    pub fn sample(
        &self,
        z: &[Tensor],
        guidance: f64,
        noise: &[f32],
        watch: &mut dyn FnMut(Step),
    ) -> Result<Tensor> {
        let tokens = z[0].dims()[0];
        let count = tokens * self.values;
        let guided = z.len() == 2 && is_guided(guidance);
        let branches = if guided { 2 } else { 1 };
        let conditions = self.condition(&Tensor::cat(&z[..branches], 0)?)?;
        let steps = self.schedule.steps.len();
        let mut noise = noise.chunks(count);
        let mut x = noise.next().unwrap_or_default().to_vec();
        for index in 0..steps {
            interrupt::check()?;
            let step = steps - 1 - index;
            let time = self.time(&[self.schedule.steps[step]])?;
            let y = conditions.broadcast_add(&time)?;
            let input = Tensor::from_slice(&x, (tokens, self.values), &Device::Cpu)?;
            let input = input
                .repeat((branches, 1))?
                .to_dtype(self.like.dtype)?
                .to_device(&self.like.device)?;
            let output = self.predict(&input, &y, &mut |_, _| ())?;
            let output = output
                .to_dtype(candle_core::DType::F32)?
                .flatten_all()?
                .to_vec1::<f32>()?;
            let output = self.guide(output, guided.then_some(guidance));
            let added = if step == 0 { None } else { noise.next() };
            let estimate = self.denoise(step, &mut x, &output, added);
            watch(Step {
                index,
                output: &output,
                estimate: &estimate,
                sample: &x,
            });
        }
        let residual = x.iter().map(|x| x * RESIDUAL).collect::<Vec<_>>();
        Ok(Tensor::from_vec(
            residual,
            (tokens, self.values),
            &Device::Cpu,
        )?)
    }

    /// Mixes the noise of the branches (branches * N, 2Z); the variance is the conditional one.
    fn guide(&self, mut output: Vec<f32>, guidance: Option<f64>) -> Vec<f32> {
        let Some(guidance) = guidance else {
            return output;
        };
        let other = output.split_off(output.len() / 2);
        let width = 2 * self.values;
        let more = (1.0 + guidance) as f32;
        let less = guidance as f32;
        for (own, other) in output.chunks_mut(width).zip(other.chunks(width)) {
            for (own, other) in own.iter_mut().zip(other).take(self.values) {
                *own = more * *own - less * other;
            }
        }
        output
    }

    /// Takes noise away from x (N, Z), and adds less. Returns the estimate of the result.
    fn denoise(
        &self,
        step: usize,
        x: &mut [f32],
        output: &[f32],
        noise: Option<&[f32]>,
    ) -> Vec<f32> {
        let schedule = &self.schedule;
        let of_x = schedule.sqrt_recip_alphas_cumprod[step] as f32;
        let of_noise = schedule.sqrt_recipm1_alphas_cumprod[step] as f32;
        let mean_of_estimate = schedule.posterior_mean_coef1[step] as f32;
        let mean_of_x = schedule.posterior_mean_coef2[step] as f32;
        let most = schedule.betas[step].ln() as f32;
        let least = schedule.posterior_log_variance_clipped[step] as f32;
        let mut estimates = Vec::with_capacity(x.len());
        for (i, x) in x.iter_mut().enumerate() {
            let place = i / self.values * 2 * self.values + i % self.values;
            let predicted = output[place];
            let share = (output[place + self.values] + 1.0) / 2.0;
            let estimate = (of_x * *x - of_noise * predicted).clamp(-1.0, 1.0);
            let mean = mean_of_estimate * estimate + mean_of_x * *x;
            let variance = share * most + (1.0 - share) * least;
            let added = noise.map_or(0.0, |noise| (0.5 * variance).exp() * noise[i]);
            *x = mean + added;
            estimates.push(estimate);
        }
        estimates
    }
}

/// `x * (1 + scale) + shift`, row by row.
fn modulated(x: &Tensor, scale: &Tensor, shift: &Tensor) -> candle_core::Result<Tensor> {
    (x * (scale + 1.0)?)? + shift
}
