//! The text encoder: each token attends to those before it, so the last one covers the whole text.

use candle_core::Tensor;

use super::{Layout, TextConfig};
use crate::{
    Error, Result,
    nn::{LayerNorm, VitBlock, Weights},
};

/// The network.
#[derive(Clone, Debug)]
pub struct TextModel {
    token_embedding: Tensor,    // (words, C)
    position_embedding: Tensor, // (positions, C)
    layers: Vec<VitBlock>,
    final_layer_norm: LayerNorm,
}

impl TextModel {
    /// The tensors below `w`.
    pub(super) fn load(w: &Weights, layout: Layout, config: &TextConfig) -> Result<Self> {
        let tokens = layout.token_embedding();
        let places = layout.position_embedding();
        let [words, width] = w.dims(tokens)?;
        let [positions, _] = w.dims(places)?;
        let TextConfig {
            num_attention_heads: heads,
            hidden_act: act,
            layer_norm_eps: eps,
        } = *config;
        Ok(Self {
            token_embedding: w.get((words, width), tokens)?,
            position_embedding: w.get((positions, width), places)?,
            layers: layout.blocks(w, width, heads, eps, act)?,
            final_layer_norm: LayerNorm::load(&w.pp(layout.final_layer_norm()), width, eps)?,
        })
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.token_embedding.dims()[1]
    }

    /// Size of the vocabulary.
    pub fn words(&self) -> usize {
        self.token_embedding.dims()[0]
    }

    /// The final state of each token: (1, L, C).
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let most = self.position_embedding.dims()[0];
        let device = self.token_embedding.device();
        if ids.is_empty() || ids.len() > most {
            return Err(Error::input(format!(
                "CLIP expects 1 to {most} tokens, found {}",
                ids.len()
            )));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.words()) {
            return Err(Error::input(format!(
                "token {id}, but the weights of CLIP have {} words",
                self.words()
            )));
        }
        let x = self
            .token_embedding
            .index_select(&Tensor::new(ids, device)?, 0)?;
        // (1, L, C)
        let mut x = (x + self.position_embedding.narrow(0, 0, ids.len())?)?.unsqueeze(0)?;
        let future = future(ids.len(), &x)?;
        for layer in &self.layers {
            x = layer.forward_biased(&x, Some(&future))?;
        }
        Ok(self.final_layer_norm.forward(&x)?)
    }

    /// The final state of the end token, the first one of the highest id: (1, C).
    pub fn pooled(&self, ids: &[u32]) -> Result<Tensor> {
        let x = self.forward(ids)?;
        let highest = ids.iter().max();
        let end = ids.iter().position(|id| Some(id) == highest).unwrap_or(0);
        Ok(x.narrow(1, end, 1)?.squeeze(1)?)
    }

    /// Floating-point operations for a prompt of this many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        self.layers.iter().map(|layer| layer.flops(tokens)).sum()
    }
}

/// The causal mask, added to scores: (1, 1, L, L).
fn future(tokens: usize, like: &Tensor) -> Result<Tensor> {
    let value = |i: usize| {
        if i % tokens > i / tokens {
            f32::NEG_INFINITY
        } else {
            0.0
        }
    };
    let values: Vec<f32> = (0..tokens * tokens).map(value).collect();
    Ok(Tensor::from_vec(values, (1, 1, tokens, tokens), like.device())?.to_dtype(like.dtype())?)
}
