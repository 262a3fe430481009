//! The text encoder: each token attends to those before it, so the last one covers the whole text.

use candle_core::Tensor;

use super::{Layout, TextConfig};
use crate::{
    Error, Result, interrupt,
    nn::{LayerNorm, Mlp, Signature, VitBlock, Weights},
};

/// Sizes as the weights show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSizes {
    /// Size of the vocabulary.
    pub words: usize,
    /// Most tokens of a text.
    pub positions: usize,
    /// Numbers per token.
    pub width: usize,
    /// Width of the feed-forward layers.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
}

impl TextSizes {
    /// Parameters of one layer's matrices.
    fn layer_values(&self) -> usize {
        self.width * (4 * self.width + 2 * self.hidden)
    }

    /// Floating-point operations for a text of this many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        let attention = 4 * tokens * tokens * self.width;
        self.layers as f64 * (2 * tokens * self.layer_values() + attention) as f64
    }

    /// The number of parameters, without a projection.
    pub fn values(&self) -> usize {
        let c = self.width;
        let biases = 5 * c + self.hidden; // of six layers
        let norms = 4 * c; // two of them
        let layer = self.layer_values() + biases + norms;
        (self.words + self.positions) * c + self.layers * layer + 2 * c
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct TextModel {
    sizes: TextSizes,
    token_embedding: Tensor,    // (words, C)
    position_embedding: Tensor, // (positions, C)
    layers: Vec<VitBlock>,
    final_layer_norm: LayerNorm,
}

impl TextModel {
    /// Tensors of every checkpoint of Hugging Face, with or without a vision encoder.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "text_model.embeddings.token_embedding.weight",
            "text_model.final_layer_norm.weight",
        ]],
    };

    /// Reads the text encoder of a file of Hugging Face, alone.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the others imply.
    pub fn load_alone(w: &Weights, config: &TextConfig) -> Result<Self> {
        Self::load(&w.pp("text_model"), Layout::HuggingFace, config)
    }

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
        let layers = layout.blocks(w, width, heads, eps, act)?;
        let hidden = match layers.first().map(|layer| &layer.mlp) {
            Some(Mlp::Plain { fc1, .. }) => fc1.outputs(),
            _ => 0,
        };
        Ok(Self {
            sizes: TextSizes {
                words,
                positions,
                width,
                hidden,
                layers: layers.len(),
            },
            token_embedding: w.get((words, width), tokens)?,
            position_embedding: w.get((positions, width), places)?,
            layers,
            final_layer_norm: LayerNorm::load(&w.pp(layout.final_layer_norm()), width, eps)?,
        })
    }

    /// The sizes of the network.
    pub fn sizes(&self) -> &TextSizes {
        &self.sizes
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.sizes.width
    }

    /// Size of the vocabulary.
    pub fn words(&self) -> usize {
        self.sizes.words
    }

    /// The final state of each token: (1, L, C).
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        self.forward_watching(ids, &mut |_| ())
    }

    /// The same. `watch` receives what each block reads, and what the last one returns: (1, L, C).
    pub fn forward_watching(&self, ids: &[u32], watch: &mut dyn FnMut(&Tensor)) -> Result<Tensor> {
        let most = self.sizes.positions;
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
            interrupt::check()?;
            watch(&x);
            x = layer.forward_biased(&x, Some(&future))?;
        }
        watch(&x);
        Ok(self.final_layer_norm.forward(&x)?)
    }

    /// The final state of the end token, the first one of the highest id: (1, C).
    pub fn pooled(&self, ids: &[u32]) -> Result<Tensor> {
        Self::end_state(&self.forward(ids)?, ids)
    }

    /// The same from the final states of all tokens, (1, L, C).
    pub fn end_state(states: &Tensor, ids: &[u32]) -> Result<Tensor> {
        let highest = ids.iter().max();
        let end = ids.iter().position(|id| Some(id) == highest).unwrap_or(0);
        Ok(states.narrow(1, end, 1)?.squeeze(1)?)
    }

    /// Floating-point operations for a prompt of this many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        self.sizes.flops(tokens)
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
