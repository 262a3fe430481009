//! BLIP's text encoder: a BERT with cross-attention to the image between self-attention and
//! feed-forward. The decoder of answers is a second one, with cross-attention to the encoded
//! question.
//!
//! The part that does not depend on the image (the embedding and the first layer's self-attention)
//! is computed once per prompt.

use candle_core::Tensor;
use serde::Deserialize;

use crate::{
    Error, Result,
    nn::{Activation, LayerNorm, Linear, Weights, attention, residual},
};

/// Settings that the weights do not reveal: the fields of `med_config.json` that matter here.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Heads of every attention.
    pub num_attention_heads: usize,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
    /// The activation of the feed-forward layers and of the prediction head.
    pub hidden_act: Activation,
}

impl Default for TextConfig {
    /// The values of the released models.
    fn default() -> Self {
        Self {
            num_attention_heads: 12,
            layer_norm_eps: 1e-12,
            hidden_act: Activation::Gelu,
        }
    }
}

/// The network. Its sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    word_embeddings: Tensor,     // (V, W)
    position_embeddings: Tensor, // (P, W)
    norm: LayerNorm,
    layers: Vec<Layer>,
}

/// Prompts, encoded as far as possible without an image.
#[derive(Clone, Debug)]
pub struct Prompt {
    hidden: Tensor,       // (P, L, W), after the first layer's self-attention
    mask: Option<Tensor>, // (P, 1, 1, L), added to the scores; `None` without padding
}

/// Self-attention, cross-attention to the image, feed-forward; each followed by a residual and a
/// LayerNorm.
#[derive(Clone, Debug)]
struct Layer {
    attention: Attention,
    crossattention: Attention,
    intermediate: Linear,
    output: Linear,
    act: Activation,
    norm: LayerNorm,
}

#[derive(Clone, Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl TextEncoder {
    /// Loads the tensors below `w`; the context has tokens of `context_width` numbers.
    pub fn load(w: &Weights, config: &TextConfig, context_width: usize) -> Result<Self> {
        let embeddings = w.pp("embeddings");
        let [words, width] = embeddings.dims("word_embeddings.weight")?;
        let [positions, _] = embeddings.dims("position_embeddings.weight")?;
        if config.num_attention_heads == 0 || !width.is_multiple_of(config.num_attention_heads) {
            let expected = format!("a width that {} heads share", config.num_attention_heads);
            return Err(embeddings.mismatch(
                "word_embeddings.weight",
                expected,
                format!("{width}"),
            ));
        }
        let layer = |i| Layer::load(&w.pp("encoder.layer").pp(i), config, width, context_width);
        Ok(Self {
            word_embeddings: embeddings.get((words, width), "word_embeddings.weight")?,
            position_embeddings: embeddings
                .get((positions, width), "position_embeddings.weight")?,
            norm: LayerNorm::load(&embeddings.pp("LayerNorm"), width, config.layer_norm_eps)?,
            layers: (0..w.count("encoder.layer").max(1))
                .map(layer)
                .collect::<Result<_>>()?,
        })
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.word_embeddings.dims()[1]
    }

    /// Size of the vocabulary.
    pub fn words(&self) -> usize {
        self.word_embeddings.dims()[0]
    }

    /// Tokens of the longest possible prompt.
    pub fn positions(&self) -> usize {
        self.position_embeddings.dims()[0]
    }

    /// The embedding of a prompt: (1, L, W). Fails on ids beyond the vocabulary and on too many of
    /// them.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let words = self.words();
        let positions = self.positions();
        if ids.is_empty() || ids.len() > positions {
            return Err(Error::input(format!(
                "a prompt of {} tokens; this model reads 1 to {positions}",
                ids.len()
            )));
        }
        if let Some(id) = ids.iter().find(|&&id| id as usize >= words) {
            return Err(Error::input(format!(
                "the tokenizer returned the id {id}, but this model has {words} tokens"
            ))
            .with_hint("use the vocabulary that the model was trained with"));
        }
        let ids = Tensor::new(ids, self.word_embeddings.device())?;
        let x = (self.word_embeddings.index_select(&ids, 0)?
            + self.position_embeddings.narrow(0, 0, ids.dim(0)?)?)?;
        Ok(self.norm.forward(&x.unsqueeze(0)?)?) // (1, L, W)
    }

    /// Encodes a prompt. No token attends to padding, where `mask` is 0.
    ///
    /// # Panics
    /// When there are not as many mask values as ids.
    pub fn prompt(&self, ids: &[u32], mask: &[u32]) -> Result<Prompt> {
        assert_eq!(ids.len(), mask.len(), "a mask value for each id");
        self.read(self.embed(ids)?, mask)
    }

    /// Encodes several prompts side by side; the shorter ones are padded, which changes nothing for
    /// them.
    pub fn prompts(&self, prompts: &[Vec<u32>]) -> Result<Prompt> {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let mut x = Vec::with_capacity(prompts.len());
        let mut mask = Vec::with_capacity(prompts.len() * longest);
        for ids in prompts {
            let mut padded = ids.clone();
            padded.resize(longest, 0); // any id will do: it is masked
            mask.extend((0..longest).map(|i| u32::from(i < ids.len())));
            x.push(self.embed(&padded)?);
        }
        self.read(Tensor::cat(&x, 0)?, &mask)
    }

    /// x (P, L, W) with a mask value for each token.
    fn read(&self, x: Tensor, mask: &[u32]) -> Result<Prompt> {
        let (p, l, _) = x.dims3()?;
        let mask = if mask.contains(&0) {
            // -10000 as in the original: its exponential is 0 in every floating-point type.
            let added: Vec<f32> = mask
                .iter()
                .map(|&m| if m == 0 { -10_000.0 } else { 0.0 })
                .collect();
            Some(Tensor::from_vec(added, (p, 1, 1, l), x.device())?.to_dtype(x.dtype())?)
        } else {
            None
        };
        let hidden = self.layers[0].attention.forward(&x, &x, mask.as_ref())?;
        Ok(Prompt { hidden, mask })
    }

    /// Encodes one prompt for each of several images, or several prompts for one: (B, T, context
    /// width) -> (B or P, L, W).
    pub fn forward(&self, prompt: &Prompt, image_embeds: &Tensor) -> Result<Tensor> {
        self.forward_masked(prompt, image_embeds, None)
    }

    /// The same where some tokens of the context are padding: `padding` (B, 1, 1, T) is added to
    /// the scores.
    pub fn forward_masked(
        &self,
        prompt: &Prompt,
        context: &Tensor,
        padding: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (p, l, w) = prompt.hidden.dims3()?;
        let mut x = prompt
            .hidden
            .broadcast_as((p.max(context.dim(0)?), l, w))?
            .contiguous()?;
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = layer.attention.forward(&x, &x, prompt.mask.as_ref())?;
            }
            x = layer.look_and_think(&x, context, padding)?;
        }
        Ok(x)
    }

    /// Floating-point operations for one image of `context` tokens and a prompt of `tokens`.
    pub fn flops(&self, tokens: usize, context: usize) -> f64 {
        let layer = |layer: &Layer| {
            let looks =
                layer.attention.flops(tokens, tokens) + layer.crossattention.flops(tokens, context);
            looks + layer.intermediate.flops(tokens) + layer.output.flops(tokens)
        };
        self.layers.iter().map(layer).sum()
    }
}

impl Prompt {
    /// Number of tokens, padding included.
    pub fn tokens(&self) -> usize {
        self.hidden.dims()[1]
    }

    /// The mask of the padding, added to scores: (P, 1, 1, L), if there is padding.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }
}

impl Layer {
    fn load(w: &Weights, config: &TextConfig, width: usize, context_width: usize) -> Result<Self> {
        let [hidden, _] = w.dims("intermediate.dense.weight")?;
        Ok(Self {
            attention: Attention::load(&w.pp("attention"), config, width, width)?,
            crossattention: Attention::load(&w.pp("crossattention"), config, width, context_width)?,
            intermediate: Linear::load(&w.pp("intermediate.dense"), width, hidden)?,
            output: Linear::load(&w.pp("output.dense"), hidden, width)?,
            act: config.hidden_act,
            norm: LayerNorm::load(&w.pp("output.LayerNorm"), width, config.layer_norm_eps)?,
        })
    }

    /// All of the layer but its self-attention: (B, L, W) -> (B, L, W)
    fn look_and_think(
        &self,
        x: &Tensor,
        context: &Tensor,
        padding: Option<&Tensor>,
    ) -> Result<Tensor> {
        let x = self.crossattention.forward(x, context, padding)?;
        let hidden = self.act.forward(&self.intermediate.forward(&x)?)?;
        Ok(self
            .norm
            .forward(&residual(&x, &self.output.forward(&hidden)?, None)?)?)
    }
}

impl Attention {
    /// Queries and results are `width` wide, keys and values are made from `context` numbers a
    /// token.
    fn load(w: &Weights, config: &TextConfig, width: usize, context: usize) -> Result<Self> {
        Ok(Self {
            query: Linear::load(&w.pp("self.query"), width, width)?,
            key: Linear::load(&w.pp("self.key"), context, width)?,
            value: Linear::load(&w.pp("self.value"), context, width)?,
            output: Linear::load(&w.pp("output.dense"), width, width)?,
            norm: LayerNorm::load(&w.pp("output.LayerNorm"), width, config.layer_norm_eps)?,
            heads: config.num_attention_heads,
        })
    }

    /// Attention of x (B, L, W) to context (B or 1, T, _) -> (B, L, W)
    fn forward(&self, x: &Tensor, context: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let q = self.query.forward(x)?;
        let k = self.key.forward(context)?;
        let v = self.value.forward(context)?;
        let scale = ((self.query.outputs() / self.heads) as f32).sqrt().recip();
        // Rows with the same context are joined, so its keys and values are computed once.
        let (b, l, w) = q.dims3()?;
        let rows = context.dim(0)?;
        let q = q.reshape((rows, b / rows * l, w))?; // (B, L, W) or (1, B * L, W)
        let seen = attention(&q, &k, &v, self.heads, scale, mask)?.reshape((b, l, w))?;
        Ok(self
            .norm
            .forward(&residual(x, &self.output.forward(&seen)?, None)?)?)
    }

    fn flops(&self, tokens: usize, context: usize) -> f64 {
        let pairs = 4.0 * (tokens * context * self.query.outputs()) as f64;
        let per_token = self.query.flops(tokens) + self.output.flops(tokens);
        per_token + self.key.flops(context) + self.value.flops(context) + pairs
    }
}
