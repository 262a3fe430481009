//! T5 1.1 (flan-T5): an encoder from the ids of one prompt to one vector per token, and a decoder.
//!
//! Paper: arXiv 1910.10683; reference: huggingface/transformers at v4.49.0,
//! `src/transformers/models/t5/modeling_t5.py`, lines 234-745 (layers, blocks; buckets of
//! positions: 397-442), 881-1198 (`T5Stack`) and 1986-2107 (`T5EncoderModel`). Its particularities:
//! a learned bias by relative position, kept in the first block and shared by all; attention scores
//! without 1/sqrt(d); RMS normalisation; a gated feed-forward; no biases.

mod decoder;
mod layers;

use candle_core::{Device, Tensor};
use serde::Deserialize;

pub use self::decoder::T5Decoder;
use self::layers::{Attention, FeedForward};
use crate::{
    Error, Result, interrupt,
    nn::{RmsNorm, Signature, Weights},
};

/// The `config.json` of a T5 folder.
///
/// Sizes may be left out, since the weights show them; where they are given they must agree with
/// the weights. The other defaults are those of `T5Config`.
#[derive(Clone, Debug, Deserialize)]
pub struct T5Config {
    /// Width of the vectors.
    pub d_model: Option<usize>,
    /// Width of a head.
    pub d_kv: Option<usize>,
    /// Width inside the feed-forward.
    pub d_ff: Option<usize>,
    /// Number of encoder blocks.
    pub num_layers: Option<usize>,
    /// Number of decoder blocks.
    pub num_decoder_layers: Option<usize>,
    /// The id with which answers begin in the decoder; 0 if it is left out.
    pub decoder_start_token_id: Option<u32>,
    /// True if the embedding is the output layer too; true if it is left out.
    pub tie_word_embeddings: Option<bool>,
    /// Number of heads.
    pub num_heads: Option<usize>,
    /// Rows of the embedding.
    pub vocab_size: Option<usize>,
    /// Rows of the table of relative positions.
    pub relative_attention_num_buckets: Option<usize>,
    /// Distance from which on all positions share the last bucket.
    #[serde(default = "max_distance")]
    pub relative_attention_max_distance: usize,
    /// Added to the mean square before its root is taken.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f32,
    /// Kind of feed-forward; only `gated-gelu` is supported.
    #[serde(default = "gated_gelu")]
    pub feed_forward_proj: String,
}

fn max_distance() -> usize {
    128
}

fn epsilon() -> f32 {
    1e-6
}

fn gated_gelu() -> String {
    GATED_GELU.to_owned()
}

const GATED_GELU: &str = "gated-gelu";

struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

impl Block {
    fn load(w: &Weights, sizes: &T5Sizes, eps: f32) -> Result<Self> {
        let attention = w.pp("layer.0");
        let feed_forward = w.pp("layer.1");
        let norm = |w: &Weights| RmsNorm::load(&w.pp("layer_norm"), sizes.width, eps);
        Ok(Self {
            attention_norm: norm(&attention)?,
            attention: Attention::load(&attention.pp("SelfAttention"), sizes)?,
            feed_forward_norm: norm(&feed_forward)?,
            feed_forward: FeedForward::load(&feed_forward.pp("DenseReluDense"), sizes)?,
        })
    }

    /// (B, L, width), bias (1, heads, L, L) -> (B, L, width)
    fn forward(&self, x: &Tensor, heads: usize, bias: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.attention_norm.forward(x)?;
        let x = (x + self.attention.forward(&y, &y, heads, Some(bias))?)?;
        let y = self.feed_forward_norm.forward(&x)?;
        &x + self.feed_forward.forward(&y)?
    }
}

/// Sizes as the weights show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct T5Sizes {
    /// Rows of the embedding.
    pub rows: usize,
    /// Width of the vectors.
    pub width: usize,
    /// Width of all heads together.
    pub inner: usize,
    /// Width inside the feed-forward.
    pub hidden: usize,
    /// Number of heads.
    pub heads: usize,
    /// Rows of the table of relative positions.
    pub buckets: usize,
    /// Number of encoder blocks.
    pub layers: usize,
}

impl T5Sizes {
    /// Floating-point operations for a prompt of this many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        let weights = self.width * (4 * self.inner + 3 * self.hidden);
        self.layers as f64 * (2 * tokens * weights + 4 * tokens * tokens * self.inner) as f64
    }

    /// Parameters of the matrices.
    pub fn values(&self) -> usize {
        self.rows * self.width + self.layers * self.width * (4 * self.inner + 3 * self.hidden)
    }

    fn read(encoder: &Weights, embedding: (&Weights, &str)) -> Result<Self> {
        let first = encoder.pp("block.0");
        let attention = first.pp("layer.0.SelfAttention");
        let [rows, width] = embedding.0.dims(embedding.1)?;
        let [inner, _] = attention.dims("q.weight")?;
        let [buckets, heads] = attention.dims("relative_attention_bias.weight")?;
        let [hidden, _] = first.dims("layer.1.DenseReluDense.wi_0.weight")?;
        Ok(Self {
            rows,
            width,
            inner,
            hidden,
            heads,
            buckets,
            layers: encoder.count("block"),
        })
    }

    /// Checks that `config.json` and the weights agree.
    fn agree(&self, config: &T5Config, w: &Weights) -> Result<()> {
        let pairs = [
            ("vocab_size", config.vocab_size, self.rows),
            ("d_model", config.d_model, self.width),
            ("num_layers", config.num_layers, self.layers),
            ("num_heads", config.num_heads, self.heads),
            ("d_kv", config.d_kv, self.inner / self.heads.max(1)),
            ("d_ff", config.d_ff, self.hidden),
            (
                "relative_attention_num_buckets",
                config.relative_attention_num_buckets,
                self.buckets,
            ),
        ];
        for (name, configured, found) in pairs {
            if let Some(configured) = configured
                && configured != found
            {
                let expected = format!("{name} = {configured} as in config.json");
                return Err(w.mismatch(
                    "encoder",
                    expected,
                    format!("{name} = {found} in the weights"),
                ));
            }
        }
        if self.heads == 0 || !self.inner.is_multiple_of(self.heads) || self.buckets < 4 {
            let found = format!(
                "{} in {} heads, {} buckets",
                self.inner, self.heads, self.buckets
            );
            return Err(w.mismatch(
                "encoder",
                "heads of equal width and at least 4 buckets",
                found,
            ));
        }
        Ok(())
    }
}

/// A loaded T5 encoder.
pub struct T5Encoder {
    embedding: Tensor,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
    /// (buckets, heads), in main memory.
    relative_bias: Vec<Vec<f32>>,
    sizes: T5Sizes,
    max_distance: usize,
}

impl T5Encoder {
    /// Tensors of every checkpoint, with a decoder and without.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[
            &[
                "shared.weight",
                "encoder.block.0.layer.0.SelfAttention.q.weight",
            ],
            &[
                "encoder.embed_tokens.weight",
                "encoder.block.0.layer.0.SelfAttention.q.weight",
            ],
        ],
    };

    /// Reads the encoder's tensors; those of the decoder and the output layer are left alone.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies, or `config` and weights
    /// disagree.
    pub fn load(w: &Weights, config: &T5Config) -> Result<Self> {
        if config.feed_forward_proj != GATED_GELU {
            let message = format!(
                "config.json: expected feed_forward_proj `{GATED_GELU}`, found `{}`",
                config.feed_forward_proj
            );
            return Err(Error::input(message)
                .with_hint("use flan-T5 or T5 1.1; the original T5 is not supported"));
        }
        let encoder = w.pp("encoder");
        let name = if w.has("shared.weight") {
            "shared.weight"
        } else {
            "encoder.embed_tokens.weight"
        };
        let sizes = T5Sizes::read(&encoder, (w, name))?;
        sizes.agree(config, w)?;
        let eps = config.layer_norm_epsilon;
        let blocks =
            (0..sizes.layers).map(|i| Block::load(&encoder.pp("block").pp(i), &sizes, eps));
        let bias = encoder.pp("block.0.layer.0.SelfAttention");
        let bias = bias.get(
            (sizes.buckets, sizes.heads),
            "relative_attention_bias.weight",
        )?;
        Ok(Self {
            embedding: w.get((sizes.rows, sizes.width), name)?,
            blocks: blocks.collect::<Result<_>>()?,
            final_norm: RmsNorm::load(&encoder.pp("final_layer_norm"), sizes.width, eps)?,
            relative_bias: bias.to_dtype(candle_core::DType::F32)?.to_vec2()?,
            sizes,
            max_distance: config.relative_attention_max_distance,
        })
    }

    /// The sizes.
    pub fn sizes(&self) -> &T5Sizes {
        &self.sizes
    }

    /// Ids of one prompt, without padding -> (tokens, width).
    ///
    /// # Errors
    /// There are no ids, or one lies outside the embedding.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        let x = self.embed(ids)?.unsqueeze(0)?; // (1, L, width)
        Ok(self.forward(&x, &self.bias(ids.len())?)?.squeeze(0)?)
    }

    /// Ids of one prompt, without padding -> their rows of the embedding, (tokens, width).
    ///
    /// # Errors
    /// There are no ids, or one lies outside the embedding.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let rows = self.sizes.rows;
        if ids.is_empty() {
            return Err(Error::input(
                "a prompt without tokens; even an empty prompt ends with `</s>`",
            ));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
            return Err(Error::input(format!(
                "token {id}, but the text encoder has {rows} tokens"
            ))
            .with_hint("are tokenizer.json and the weights of the same model?"));
        }
        let ids = Tensor::new(ids, self.embedding.device())?;
        Ok(self.embedding.index_select(&ids, 0)?)
    }

    /// Rows of the embedding, or what stands in their place, (B, L, width) -> (B, L, width). `bias`
    /// is that of [`T5Encoder::bias`], perhaps with a mask added.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn forward(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            interrupt::check()?;
            x = block.forward(&x, self.sizes.heads, bias)?;
        }
        Ok(self.final_norm.forward(&x)?)
    }

    /// The bias of attention scores by relative position: (1, heads, L, L), queries before keys.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn bias(&self, length: usize) -> Result<Tensor> {
        let length = length as i64;
        let buckets: Vec<usize> = (1 - length..length)
            .map(|offset| bucket(offset, self.relative_bias.len(), self.max_distance))
            .collect();
        let mut values = Vec::with_capacity(self.sizes.heads * (length * length) as usize);
        for head in 0..self.sizes.heads {
            for query in 0..length {
                let offsets = (0..length).map(|key| buckets[(key - query + length - 1) as usize]);
                values.extend(offsets.map(|bucket| self.relative_bias[bucket][head]));
            }
        }
        let shape = (1, self.sizes.heads, length as usize, length as usize);
        let bias = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(bias
            .to_dtype(self.embedding.dtype())?
            .to_device(self.embedding.device())?)
    }
}

/// Bucket of a distance from query to key, both ways: half of the buckets for keys behind the
/// query (`_relative_position_bucket`).
fn bucket(offset: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let within = distance_bucket(offset.unsigned_abs() as usize, half, max_distance);
    within + if offset > 0 { half } else { 0 }
}

/// Bucket of a distance one way: the first half of the buckets is one per distance, the rest spaced
/// by logarithm up to `max_distance`.
fn distance_bucket(distance: usize, buckets: usize, max_distance: usize) -> usize {
    let exact = buckets / 2;
    if distance < exact {
        return distance;
    }
    let position =
        (distance as f32 / exact as f32).ln() / ((max_distance as f64 / exact as f64).ln() as f32);
    (exact + (position * (buckets - exact) as f32) as usize).min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_the_released_table() {
        let found = [0, -1, 1, -7, 7, -8, -15, -16, -32, -64, -127, 64, 500]
            .map(|offset| bucket(offset, 32, 128));
        assert_eq!(found, [0, 1, 17, 7, 23, 8, 9, 10, 12, 14, 15, 30, 31]);
    }
}
