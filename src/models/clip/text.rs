//! The network that reads: each token sees those before it, the last one knows them all.

use candle_core::Tensor;

use super::{EPS, TextConfig, blocks};
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
    pub fn load(w: &Weights, config: &TextConfig) -> Result<Self> {
        const TOKENS: &str = "embeddings.token_embedding.weight";
        const POSITIONS: &str = "embeddings.position_embedding.weight";
        let ([words, width], [positions, _]) = (w.dims(TOKENS)?, w.dims(POSITIONS)?);
        Ok(Self {
            token_embedding: w.get((words, width), TOKENS)?,
            position_embedding: w.get((positions, width), POSITIONS)?,
            layers: blocks(&w.pp("encoder"), width, config.num_attention_heads, config.hidden_act.into())?,
            final_layer_norm: LayerNorm::load(&w.pp("final_layer_norm"), width, EPS)?,
        })
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.token_embedding.dims()[1]
    }

    /// Words that it knows.
    pub fn words(&self) -> usize {
        self.token_embedding.dims()[0]
    }

    /// What it makes of each token: (1, L, C).
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        let (most, device) = (self.position_embedding.dims()[0], self.token_embedding.device());
        if ids.is_empty() || ids.len() > most {
            return Err(Error::input(format!("CLIP reads 1 to {most} tokens, not {}", ids.len())));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.words()) {
            return Err(Error::input(format!(
                "the tokenizer says {id}, the weights of CLIP know {} words",
                self.words()
            )));
        }
        let x = self.token_embedding.index_select(&Tensor::new(ids, device)?, 0)?;
        let mut x = (x + self.position_embedding.narrow(0, 0, ids.len())?)?.unsqueeze(0)?; // (1, L, C)
        let future = future(ids.len(), &x)?;
        for layer in &self.layers {
            x = layer.forward_biased(&x, Some(&future))?;
        }
        Ok(self.final_layer_norm.forward(&x)?)
    }

    /// What it makes of the last token: (1, C).
    pub fn pooled(&self, ids: &[u32]) -> Result<Tensor> {
        let x = self.forward(ids)?;
        Ok(x.narrow(1, ids.len() - 1, 1)?.squeeze(1)?)
    }
}

/// What keeps a token from those behind it: (1, 1, L, L).
fn future(tokens: usize, like: &Tensor) -> Result<Tensor> {
    let value = |i: usize| if i % tokens > i / tokens { f32::NEG_INFINITY } else { 0.0 };
    let values: Vec<f32> = (0..tokens * tokens).map(value).collect();
    Ok(Tensor::from_vec(values, (1, 1, tokens, tokens), like.device())?.to_dtype(like.dtype())?)
}
