//! One scale of the candidates of a text.

use candle_core::{DType, Device, Tensor};
use ttsvar_search::rng::Stream;

use super::{Settings, TextModel, diffusion_branches};
use crate::{
    Result,
    models::hart::{Condition, Hart, ScaleRun},
    nn::check_finite,
    pipelines::{
        codebook::{CodebookModel, CodebookSettings, CodebookTransformer},
        codes::Drawn,
        normal::normal_numbers,
        rollout::{ModelRollout, ScaleModel, ScaleOutput, ScaleStep},
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

/// Returns whether a scale is the last one.
fn is_last(transformer: &Hart, scale: usize) -> bool {
    scale + 1 == transformer.config().grids.len()
}

/// Normal numbers that a candidate needs at a scale.
fn noise(transformer: &Hart, scale: usize) -> usize {
    let (rows, columns) = transformer.config().grids[scale];
    match is_last(transformer, scale) {
        true => transformer.diffusion().noise(rows * columns),
        false => 0,
    }
}

impl TextModel<'_> {
    /// What the codes of the last scale leave over, (L, Z), drawn by the diffusion head.
    fn residual(&self, scale: usize, drawn: &HartDraw, last: &[Tensor]) -> Result<Tensor> {
        let networks = self.networks.get()?;
        let transformer = &networks.transformer;
        let codes = networks.quantizer.vectors(&drawn.codes.ids)?; // (L, Z)
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

impl CodebookTransformer for Hart {
    type Settings = Settings;
    type Condition = Condition;
    type Drawn = HartDraw;

    const HAS_RESIDUAL: bool = true;

    fn grids(&self) -> &[(usize, usize)] {
        &self.config().grids
    }

    fn depth(&self) -> usize {
        self.config().depth
    }

    fn width(&self) -> usize {
        self.config().width
    }

    fn codebook(&self) -> [usize; 2] {
        [self.config().vocabulary, self.config().code_width]
    }

    fn place(&self) -> (&Device, DType) {
        (self.device(), self.dtype())
    }

    /// The text is a part of scale 0.
    fn tokens(&self, scale: usize) -> usize {
        self.config().tokens(scale)
    }

    fn text_flops(&self, _: usize) -> f64 {
        self.config().text_flops()
    }

    fn row_flops(&self, tokens: usize, seen: usize, _: usize) -> f64 {
        self.config().scale_flops(tokens, seen)
    }

    fn extra_flops(&self, settings: &Settings, scale: usize) -> f64 {
        let branches = diffusion_branches(settings, self.config().grids.len());
        match is_last(self, scale) {
            true => self.config().diffusion_flops(branches),
            false => 0.0,
        }
    }

    fn row_kv_bytes(&self, tokens: usize) -> u64 {
        self.kv_bytes(tokens)
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.config().activation_bytes(rows, tokens, seen)
    }

    fn run(
        &self,
        step: &ScaleStep<Vec<Condition>>,
        guidance: f64,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput> {
        let run = ScaleRun {
            scale: step.scale,
            tokens: step.tokens,
            conditions: &step.conditions[..step.branches],
            seen: step.seen,
            guidance,
            keep: step.keep,
        };
        let out = self.forward(run, watch)?;
        let last = match is_last(self, step.scale) {
            true => by_row(&out.last, step.rows.len())?,
            false => vec![],
        };
        Ok(ScaleOutput {
            logits: out.logits,
            kv: out.kv,
            last,
        })
    }

    fn drawn(&self, codes: Drawn, scale: usize, stream: &mut Stream) -> HartDraw {
        HartDraw {
            codes,
            noise: normal_numbers(stream, noise(self, scale)),
        }
    }

    /// Before the last scale, the sum has the codes only.
    fn add(
        model: &CodebookModel<Self>,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &HartDraw,
        last: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        let Some(last) = last else {
            return model.add_codes(scale, sum, &drawn.codes);
        };
        let networks = model.networks.get()?;
        let quantizer = &networks.quantizer;
        let (rows, columns) = model.grids()[scale];
        let codes = drawn.codes.map(quantizer, (rows, columns))?;
        let residual = model.residual(scale, drawn, last)?; // (L, Z)
        let residual = residual
            .t()?
            .reshape((1, quantizer.channels(), rows, columns))?;
        let added = (codes + residual)?;
        let sum = match sum {
            Some(sum) => (sum + added)?,
            None => added,
        };
        model.edited(scale, sum)
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
