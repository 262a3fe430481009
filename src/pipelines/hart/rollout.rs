//! One scale of the candidates of a text.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Tensor};
use ttsvar_search::rng::Stream;

use super::TextModel;
use crate::{
    Result,
    models::hart::{Condition, ScaleRun},
    nn::check_finite,
    pipelines::{
        codes::{Drawn, draw_tokens_noting},
        rollout::{ModelRollout, ScaleModel, ScaleOutput, ScaleStep},
        truncation::DrawSums,
    },
};

/// Candidates of one text.
pub type HartRollout<'a> = ModelRollout<'a, TextModel<'a>>;

/// What a candidate draws at a scale.
pub struct HartDraw {
    /// Its codes.
    pub codes: Drawn,
    /// Normal numbers for the diffusion head at the last scale; none before.
    pub noise: Vec<f32>,
}

impl TextModel<'_> {
    fn is_last(&self, scale: usize) -> bool {
        scale + 1 == self.grids().len()
    }

    /// Normal numbers that a candidate needs at a scale.
    fn noise(&self, scale: usize) -> usize {
        let (rows, columns) = self.grids()[scale];
        match self.is_last(scale) {
            true => self.networks.transformer.diffusion().noise(rows * columns),
            false => 0,
        }
    }

    /// What the codes of the last scale leave over, (L, Z), drawn by the diffusion head.
    fn residual(&self, scale: usize, drawn: &HartDraw, last: &[Tensor]) -> Result<Tensor> {
        let transformer = &self.networks.transformer;
        let codes = self.networks.quantizer.vectors(&drawn.codes.ids)?; // (L, Z)
        let conditions = last
            .iter()
            .map(|x| transformer.diffusion_condition(x, &codes));
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        let guidance = self.settings.guidance(scale, self.grids().len());
        let head = transformer.diffusion();
        let residual = head.sample(&conditions, guidance, &drawn.noise, &mut |_| ())?;
        check_finite("the output of the diffusion head", &residual)?;
        Ok(residual)
    }
}

impl ScaleModel for TextModel<'_> {
    /// The text of each guidance branch.
    type Conditions = Vec<Condition>;
    type Drawn = HartDraw;

    fn grids(&self) -> &[(usize, usize)] {
        &self.config().grids
    }

    fn channels(&self) -> usize {
        self.networks.quantizer.channels()
    }

    fn latent_size(&self) -> (usize, usize) {
        self.grids().last().copied().unwrap_or((1, 1))
    }

    fn patch(&self) -> usize {
        self.networks.decoder.patch()
    }

    fn device(&self) -> &Device {
        self.networks.transformer.device()
    }

    fn dtype(&self) -> DType {
        self.networks.transformer.dtype()
    }

    fn hidden_block(&self) -> Option<usize> {
        self.hidden_block
    }

    fn wants_statistics(&self) -> bool {
        self.settings.token_statistics
    }

    fn tau(&self, scale: usize) -> f32 {
        self.settings.tau.at(scale)
    }

    /// The text is a part of scale 0.
    fn text_tokens(&self, conditions: &Vec<Condition>) -> Vec<usize> {
        vec![0; conditions.len()]
    }

    fn input_tokens(&self, scale: usize, sum: &Tensor) -> Result<Tensor> {
        let grid = self.grids()[scale];
        Ok(self.networks.quantizer.tokens(sum, grid)?)
    }

    fn forward(
        &self,
        step: &ScaleStep<Vec<Condition>>,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput> {
        let run = ScaleRun {
            scale: step.scale,
            tokens: step.tokens,
            conditions: &step.conditions[..step.branches],
            seen: step.seen,
            guidance: self.settings.guidance(step.scale, self.grids().len()),
            keep: step.keep,
        };
        let out = self.networks.transformer.forward(run, watch)?;
        let last = match self.is_last(step.scale) {
            true => by_row(&out.last, step.rows.len())?,
            false => vec![],
        };
        Ok(ScaleOutput {
            logits: out.logits,
            kv: out.kv,
            last,
        })
    }

    fn draw(
        &self,
        scale: usize,
        logits: &[f32],
        stream: &mut Stream,
        sums: Option<&mut DrawSums>,
    ) -> HartDraw {
        let sampling = self.settings.sampling(scale, self.grids().len());
        let vocabulary = self.networks.quantizer.vocabulary();
        HartDraw {
            codes: draw_tokens_noting(logits, vocabulary, &sampling, stream, sums),
            noise: normal_numbers(stream, self.noise(scale)),
        }
    }

    /// Before the last scale, the sum has the codes only.
    fn add(
        &self,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &HartDraw,
        last: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        let quantizer = &self.networks.quantizer;
        let grids = self.grids();
        let (rows, columns) = grids[scale];
        let codes = drawn.codes.map(quantizer, (rows, columns))?;
        let Some(last) = last else {
            return Ok(quantizer.add(sum, &codes, self.latent_size(), [scale, grids.len()])?);
        };
        let residual = self.residual(scale, drawn, last)?; // (L, Z)
        let residual = residual
            .t()?
            .reshape((1, quantizer.channels(), rows, columns))?;
        let added = (codes + residual)?;
        Ok(match sum {
            Some(sum) => (sum + added)?,
            None => added,
        })
    }

    fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        self.networks.decoder.forward(latent)
    }
}

/// Of (branches * R, L, C), for each row that of each branch, (L, C).
fn by_row(x: &Tensor, rows: usize) -> Result<Vec<Vec<Tensor>>> {
    let branches = x.dims()[0] / rows;
    let mut all = vec![];
    for row in 0..rows {
        let of_row = (0..branches).map(|branch| Ok(x.get(branch * rows + row)?));
        all.push(of_row.collect::<Result<_>>()?);
    }
    Ok(all)
}

/// Normal numbers from a stream, two from each pair of its numbers (Box and Muller).
fn normal_numbers(stream: &mut Stream, count: usize) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        let radius = (-2.0 * (1.0 - stream.uniform_f64()).ln()).sqrt();
        let angle = TAU * stream.uniform_f64();
        numbers.push((radius * angle.cos()) as f32);
        numbers.push((radius * angle.sin()) as f32);
    }
    numbers.truncate(count);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let numbers = normal_numbers(&mut Stream::select(1, 0, 0), 20_001);
        let mean = numbers.iter().sum::<f32>() / 20_001.0;
        let variance = numbers.iter().map(|x| x * x).sum::<f32>() / 20_001.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04);
    }
}
