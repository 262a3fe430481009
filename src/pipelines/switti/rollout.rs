//! One scale of the candidates of a prompt.

use candle_core::{DType, Device, Tensor};
use ttsvar_search::rng::Stream;

use super::{Settings, TextModel};
use crate::{
    Result,
    models::switti::{Condition, Part, ScaleRun, Switti},
    pipelines::{
        codebook::{CodebookModel, CodebookTransformer},
        codes::Drawn,
        rollout::{ModelRollout, ScaleOutput, ScaleStep},
    },
};

/// Candidates of one prompt.
pub type SwittiRollout<'a> = ModelRollout<'a, TextModel<'a>>;

impl CodebookTransformer for Switti {
    type Settings = Settings;
    type Condition = Condition;
    type Drawn = Drawn;

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

    fn tokens(&self, scale: usize) -> usize {
        self.config().tokens(scale)
    }

    fn text_flops(&self, tokens: usize) -> f64 {
        self.config().text_flops(tokens)
    }

    fn row_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        self.config().scale_flops(tokens, seen, text)
    }

    fn row_kv_bytes(&self, tokens: usize) -> u64 {
        self.kv_bytes(tokens)
    }

    fn latent_bytes(&self) -> u64 {
        self.config().latent_bytes()
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.config().activation_bytes(rows, tokens, seen)
    }

    fn text_tokens(condition: &Condition) -> usize {
        condition.tokens()
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
        let mut watch_outputs = |part: Part, branch: usize, block: usize, x: &Tensor| {
            if part == Part::Output {
                watch(branch, block, x);
            }
        };
        let (logits, kv) = self.forward(run, &mut watch_outputs)?;
        Ok(ScaleOutput {
            logits,
            kv,
            last: vec![],
        })
    }

    fn drawn(&self, codes: Drawn, _: usize, _: &mut Stream) -> Drawn {
        codes
    }

    fn add(
        model: &CodebookModel<Self>,
        scale: usize,
        sum: Option<&Tensor>,
        drawn: &Drawn,
        _: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        model.add_codes(scale, sum, drawn)
    }
}
