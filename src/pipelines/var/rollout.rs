//! One scale of the candidates of a class.

use candle_core::{DType, Device, Tensor};
use ttsvar_search::rng::Stream;

use super::{ClassModel, Settings};
use crate::{
    Result,
    models::var::{Class, ScaleRun, Var},
    pipelines::{
        codebook::{CodebookModel, CodebookTransformer},
        codes::Drawn,
        rollout::{ModelRollout, ScaleOutput, ScaleStep},
    },
};

/// Candidates of one class.
pub type VarRollout<'a> = ModelRollout<'a, ClassModel<'a>>;

impl CodebookTransformer for Var {
    type Settings = Settings;
    type Condition = Class;
    type Drawn = Drawn;

    const TOKENIZER: Option<&'static str> = Some("vae_ch160v4096z32.pth");

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
        let (rows, columns) = self.config().grids[scale];
        rows * columns
    }

    fn text_flops(&self, _: usize) -> f64 {
        self.config().class_flops()
    }

    fn row_flops(&self, tokens: usize, seen: usize, _: usize) -> f64 {
        self.config().scale_flops(tokens, seen)
    }

    fn row_kv_bytes(&self, tokens: usize) -> u64 {
        self.kv_bytes(tokens)
    }

    fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        self.config().activation_bytes(rows, tokens, seen)
    }

    fn run(
        &self,
        step: &ScaleStep<Vec<Class>>,
        guidance: f64,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput> {
        let run = ScaleRun {
            scale: step.scale,
            tokens: step.tokens,
            classes: &step.conditions[..step.branches],
            seen: step.seen,
            guidance,
            keep: step.keep,
        };
        let (logits, kv) = self.forward(run, watch)?;
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
