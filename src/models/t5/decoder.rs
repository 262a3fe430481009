//! The decoder of T5 1.1 (flan-T5) with its output layer, for the likelihood of a given answer: all
//! of its tokens run at once.
//!
//! Reference: huggingface/transformers at v4.42.4, `src/transformers/models/t5/modeling_t5.py`:
//! `T5Block` with cross-attention, `_shift_right`, and the end of
//! `T5ForConditionalGeneration.forward`.

use candle_core::{DType, Device, Tensor};

use super::{
    T5Config, T5Encoder, T5Sizes, distance_bucket,
    layers::{Attention, FeedForward},
};
use crate::{
    Error, Result, interrupt,
    nn::{Linear, RmsNorm, Weights},
};

struct Block {
    self_attention_norm: RmsNorm,
    self_attention: Attention,
    cross_attention_norm: RmsNorm,
    cross_attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

impl Block {
    fn load(w: &Weights, sizes: &T5Sizes, eps: f32) -> Result<Self> {
        let layers = [0, 1, 2].map(|i| w.pp("layer").pp(i));
        let norm = |w: &Weights| RmsNorm::load(&w.pp("layer_norm"), sizes.width, eps);
        let [own, cross, dense] = &layers;
        Ok(Self {
            self_attention_norm: norm(own)?,
            self_attention: Attention::load(&own.pp("SelfAttention"), sizes)?,
            cross_attention_norm: norm(cross)?,
            cross_attention: Attention::load(&cross.pp("EncDecAttention"), sizes)?,
            feed_forward_norm: norm(dense)?,
            feed_forward: FeedForward::load(&dense.pp("DenseReluDense"), sizes)?,
        })
    }

    /// (B, A, width), encoded (B, S, width) -> (B, A, width)
    fn forward(
        &self,
        x: &Tensor,
        encoded: &Tensor,
        heads: usize,
        bias: &Tensor,
        mask: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let y = self.self_attention_norm.forward(x)?;
        let x = (x + self.self_attention.forward(&y, &y, heads, Some(bias))?)?;
        let y = self.cross_attention_norm.forward(&x)?;
        let x = (&x + self.cross_attention.forward(&y, encoded, heads, mask)?)?;
        let y = self.feed_forward_norm.forward(&x)?;
        &x + self.feed_forward.forward(&y)?
    }
}

/// A loaded decoder.
pub struct T5Decoder {
    blocks: Vec<Block>,
    final_norm: RmsNorm,
    /// (buckets, heads), in main memory.
    relative_bias: Vec<Vec<f32>>,
    lm_head: Linear,
    /// The factor of states before the output layer, which is 1 unless that is the embedding.
    scale: f64,
    start: u32,
    heads: usize,
    max_distance: usize,
}

impl T5Decoder {
    /// Reads the decoder's tensors and the first `words` rows of the output layer: rows beyond the
    /// tokenizer's words take no part in probabilities. The embedding is that of the encoder.
    ///
    /// # Errors
    /// A tensor is missing or of another shape, or the output layer has fewer rows than `words`.
    pub fn load(w: &Weights, config: &T5Config, encoder: &T5Encoder, words: usize) -> Result<Self> {
        let sizes = encoder.sizes();
        let decoder = w.pp("decoder");
        let layers = decoder.count("block");
        if config
            .num_decoder_layers
            .is_some_and(|configured| configured != layers)
        {
            let expected = format!("{:?} blocks as in config.json", config.num_decoder_layers);
            return Err(w.mismatch("decoder", expected, format!("{layers} blocks")));
        }
        let eps = config.layer_norm_epsilon;
        let blocks = (0..layers).map(|i| Block::load(&decoder.pp("block").pp(i), sizes, eps));
        let bias = decoder.pp("block.0.layer.0.SelfAttention");
        let bias = bias.get(
            (sizes.buckets, sizes.heads),
            "relative_attention_bias.weight",
        )?;
        let tied = config.tie_word_embeddings.unwrap_or(true);
        let head = match tied {
            true => encoder.embedding.clone(),
            false => w.get((sizes.rows, sizes.width), "lm_head.weight")?,
        };
        if words > sizes.rows {
            let expected = format!("at least {words} rows, one per word of the tokenizer");
            return Err(w.mismatch("lm_head.weight", expected, sizes.rows.to_string()));
        }
        let head = head.narrow(0, 0, words)?;
        if tied {
            w.keep_too(&head);
        }
        Ok(Self {
            blocks: blocks.collect::<Result<_>>()?,
            final_norm: RmsNorm::load(&decoder.pp("final_layer_norm"), sizes.width, eps)?,
            relative_bias: bias.to_dtype(DType::F32)?.to_vec2()?,
            lm_head: Linear::from_tensors(w, head, None)?,
            scale: match tied {
                true => (sizes.width as f64).sqrt().recip(),
                false => 1.0,
            },
            start: config.decoder_start_token_id.unwrap_or(0),
            heads: sizes.heads,
            max_distance: config.relative_attention_max_distance,
        })
    }

    /// The states after the final norm for an answer of these tokens: encoded (B, S, width) ->
    /// (B, A, width). `mask` is added to the scores of the cross-attention, (1, 1, 1, S).
    ///
    /// # Errors
    /// The answer has no tokens, or one lies outside the embedding.
    pub fn forward(
        &self,
        encoder: &T5Encoder,
        encoded: &Tensor,
        mask: Option<&Tensor>,
        answer: &[u32],
    ) -> Result<Tensor> {
        let Some((_, before_last)) = answer.split_last() else {
            return Err(Error::input("an answer without tokens"));
        };
        let mut ids = vec![self.start];
        ids.extend(before_last);
        let rows = encoded.dims()[0];
        let one = encoder.embed(&ids)?.unsqueeze(0)?; // (1, A, width)
        let mut x = one.repeat((rows, 1, 1))?; // (B, A, width)
        let bias = self.bias(ids.len(), &x)?;
        for block in &self.blocks {
            interrupt::check()?;
            x = block.forward(&x, encoded, self.heads, &bias, mask)?;
        }
        Ok(self.final_norm.forward(&x)?)
    }

    /// States after the final norm -> a logit for each word: (B, A, width) -> (B, A, words).
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        Ok(self.lm_head.forward(&(states * self.scale)?)?)
    }

    /// The bias of attention scores by relative position, which hides later tokens:
    /// (1, heads, A, A).
    fn bias(&self, length: usize, like: &Tensor) -> Result<Tensor> {
        let buckets = self.relative_bias.len();
        let mut values = Vec::with_capacity(self.heads * length * length);
        for head in 0..self.heads {
            for query in 0..length {
                for key in 0..length {
                    values.push(match query.checked_sub(key) {
                        Some(distance) => {
                            let bucket = distance_bucket(distance, buckets, self.max_distance);
                            self.relative_bias[bucket][head]
                        }
                        None => f32::NEG_INFINITY,
                    });
                }
            }
        }
        let shape = (1, self.heads, length, length);
        let bias = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(bias.to_dtype(like.dtype())?.to_device(like.device())?)
    }

    /// Floating-point operations for an answer about `encoded` tokens.
    pub fn flops(&self, sizes: &T5Sizes, answer: usize, encoded: usize) -> f64 {
        let T5Sizes {
            width,
            inner,
            hidden,
            ..
        } = *sizes;
        let per_token = width * (6 * inner + 3 * hidden);
        let memory = 2 * width * inner;
        let pairs = 2 * answer * (answer + encoded) * inner;
        let block = 2 * (answer * per_token + encoded * memory) + 2 * pairs;
        self.blocks.len() as f64 * block as f64 + self.lm_head.flops(answer)
    }
}
