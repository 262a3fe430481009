//! One scale of the candidates of a prompt.

use candle_core::{DType, Device, Tensor};
use ttsvar_search::rng::Stream;

use super::TextModel;
use crate::{
    Result,
    models::switti::{Condition, Part, ScaleRun},
    pipelines::{
        codes::{Drawn, draw_tokens_noting},
        rollout::{ModelRollout, ScaleModel, ScaleOutput, ScaleStep},
        truncation::DrawSums,
    },
};

/// Candidates of one prompt.
pub type SwittiRollout<'a> = ModelRollout<'a, TextModel<'a>>;

impl ScaleModel for TextModel<'_> {
    /// The text of each guidance branch.
    type Conditions = Vec<Condition>;
    type Drawn = Drawn;

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

    fn text_tokens(&self, conditions: &Vec<Condition>) -> Vec<usize> {
        conditions.iter().map(Condition::tokens).collect()
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
        let mut watch_outputs = |part: Part, branch: usize, block: usize, x: &Tensor| {
            if part == Part::Output {
                watch(branch, block, x);
            }
        };
        let (logits, kv) = self.networks.transformer.forward(run, &mut watch_outputs)?;
        Ok(ScaleOutput {
            logits,
            kv,
            last: vec![],
        })
    }

    fn draw(
        &self,
        scale: usize,
        logits: &[f32],
        stream: &mut Stream,
        sums: Option<&mut DrawSums>,
    ) -> Drawn {
        let sampling = self.settings.sampling(scale, self.grids().len());
        let vocabulary = self.networks.quantizer.vocabulary();
        draw_tokens_noting(logits, vocabulary, &sampling, stream, sums)
    }

    fn add(
        &self,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &Drawn,
        _: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        let quantizer = &self.networks.quantizer;
        let grids = self.grids();
        let codes = drawn.map(quantizer, grids[scale])?;
        Ok(quantizer.add(sum, &codes, self.latent_size(), [scale, grids.len()])?)
    }

    fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        self.networks.decoder.forward(latent)
    }
}
