//! Routing of the cross-attention: tokens in a region attend to the text of that region instead of
//! the whole prompt, in the conditional branch.
//!
//! The idea of steering one coarse scale in this way is that of SynVAR (arXiv 2608.07948). This is
//! not its code, which is not public.

use candle_core::Tensor;

use crate::{Result, nn::Kv};

/// The text of a region, as the blocks attend to it: no pooled text and no modulation.
#[derive(Clone, Debug)]
pub struct RegionText {
    /// Keys and values of each block: (T, C)
    pub(super) blocks: Vec<Kv>,
    tokens: usize,
}

impl RegionText {
    pub(super) fn new(blocks: Vec<Kv>, tokens: usize) -> Self {
        Self { blocks, tokens }
    }

    /// Tokens of the text.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// What each token of a row attends to, in shares that sum to 1.
#[derive(Clone, Debug)]
pub struct Route {
    /// The share of the whole prompt: (1, L, 1)
    pub whole: Tensor,
    /// The number of a region's text and its share: (1, L, 1)
    pub regions: Vec<(usize, Tensor)>,
}

/// The routes of the rows of one scale.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// The texts of all regions.
    pub texts: &'a [RegionText],
    /// The route of each row of the conditional branch; rows without one attend to the whole prompt.
    pub rows: &'a [Option<&'a Route>],
}

impl Routing<'_> {
    /// Mixes into `out` (branches * R, L, C), the answers of the whole texts to the queries `q`, those
    /// of the regions' texts in one block. `attend` computes the answers of a text to one row.
    pub(super) fn mix(
        &self,
        block: usize,
        q: &Tensor,
        out: &Tensor,
        attend: impl Fn(&Tensor, &Kv) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        let mut rows = Vec::with_capacity(self.rows.len() + 1);
        for (row, route) in self.rows.iter().enumerate() {
            let whole = out.narrow(0, row, 1)?; // (1, L, C)
            let Some(route) = route else {
                rows.push(whole);
                continue;
            };
            let q = q.narrow(0, row, 1)?;
            let mut mixed = share(&whole, &route.whole)?;
            for (text, weights) in &route.regions {
                let answer = attend(&q, &self.texts[*text].blocks[block])?; // (1, L, C)
                mixed = (mixed + share(&answer, weights)?)?;
            }
            rows.push(mixed);
        }
        let others = out.dims()[0] - self.rows.len();
        if others > 0 {
            rows.push(out.narrow(0, self.rows.len(), others)?); // the unconditional branch
        }
        Ok(Tensor::cat(&rows, 0)?)
    }
}

/// (1, L, C) with weights (1, L, 1)
fn share(answer: &Tensor, weights: &Tensor) -> candle_core::Result<Tensor> {
    answer.broadcast_mul(&weights.to_dtype(answer.dtype())?)
}
