//! The layers of Qwen2 as a text encoder: ids of one prompt to one vector per token.
//!
//! Paper: arXiv 2407.10671; reference: huggingface/transformers at v4.42.4,
//! `src/transformers/models/qwen2/modeling_qwen2.py`. Its particularities: queries, keys and values
//! with a bias, several heads of queries for each head of keys and values, a gated feed-forward.

use candle_core::Tensor;
use serde::Deserialize;

use super::rotation::Rotation;
use crate::{
    Error, Result, interrupt,
    nn::{Linear, Mlp, RmsNorm, Signature, Weights, attention, residual},
};

/// Added to the scores of tokens that are not to be seen.
const HIDDEN: f32 = -1e30;

/// The `config.json` of a Qwen2 folder. Sizes that the weights show are not read.
#[derive(Clone, Debug, Deserialize)]
pub struct Qwen2Config {
    /// Heads of queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f32,
    /// True if distant tokens are not seen, which is not supported.
    #[serde(default)]
    pub use_sliding_window: bool,
}

/// Sizes as the weights show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qwen2Sizes {
    /// Rows of the embedding.
    pub rows: usize,
    /// Width of the vectors.
    pub width: usize,
    /// Width of all heads of keys together.
    pub key_width: usize,
    /// Width inside the feed-forward.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
}

impl Qwen2Sizes {
    /// Parameters of one layer's matrices.
    fn layer_values(&self) -> usize {
        self.width * (2 * self.width + 2 * self.key_width + 3 * self.hidden)
    }

    /// Floating-point operations for a prompt of this many tokens.
    pub fn flops(&self, tokens: usize) -> f64 {
        let attention = 4 * tokens * tokens * self.width;
        self.layers as f64 * (2 * tokens * self.layer_values() + attention) as f64
    }

    /// Parameters of the matrices.
    pub fn values(&self) -> usize {
        self.rows * self.width + self.layers * self.layer_values()
    }
}

struct Layer {
    input_layernorm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

impl Layer {
    fn load(w: &Weights, sizes: &Qwen2Sizes, eps: f32) -> Result<Self> {
        let c = sizes.width;
        let attn = w.pp("self_attn");
        Ok(Self {
            input_layernorm: RmsNorm::load(&w.pp("input_layernorm"), c, eps)?,
            q_proj: Linear::load(&attn.pp("q_proj"), c, c)?,
            k_proj: Linear::load(&attn.pp("k_proj"), c, sizes.key_width)?,
            v_proj: Linear::load(&attn.pp("v_proj"), c, sizes.key_width)?,
            o_proj: Linear::load_no_bias(&attn.pp("o_proj"), c, c)?,
            post_attention_layernorm: RmsNorm::load(&w.pp("post_attention_layernorm"), c, eps)?,
            mlp: gated_mlp(&w.pp("mlp"), c, sizes.hidden)?,
        })
    }

    /// (1, L, width) -> (1, L, width); `bias` (1, 1, L, L) hides tokens.
    fn forward(
        &self,
        x: &Tensor,
        heads: [usize; 2],
        rotation: &Rotation,
        bias: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let [heads, key_heads] = heads;
        let h = self.input_layernorm.forward(x)?;
        let q = rotation.forward(&self.q_proj.forward(&h)?)?;
        let k = rotation.forward(&self.k_proj.forward(&h)?)?;
        let k = repeat_heads(&k, key_heads, heads / key_heads)?;
        let v = repeat_heads(&self.v_proj.forward(&h)?, key_heads, heads / key_heads)?;
        let width = q.dims()[2] / heads;
        let scale = (width as f32).sqrt().recip();
        let h = attention(&q, &k, &v, heads, scale, Some(bias))?;
        let x = residual(x, &self.o_proj.forward(&h)?, None)?;
        let h = self.post_attention_layernorm.forward(&x)?;
        residual(&x, &self.mlp.forward(&h)?, None)
    }
}

/// `down_proj(silu(gate_proj(x)) * up_proj(x))` without biases.
pub(super) fn gated_mlp(w: &Weights, width: usize, hidden: usize) -> Result<Mlp> {
    let gate = w.get((hidden, width), "gate_proj.weight")?;
    let up = w.get((hidden, width), "up_proj.weight")?;
    Ok(Mlp::SwiGlu {
        w12: Linear::from_tensors(w, w.join(&[gate, up])?, None)?,
        w3: Linear::load_no_bias(&w.pp("down_proj"), hidden, width)?,
    })
}

/// Each of the heads (1, L, heads * D) `times` times, one after the other.
fn repeat_heads(x: &Tensor, heads: usize, times: usize) -> candle_core::Result<Tensor> {
    let (b, l, c) = x.dims3()?;
    let x = x.reshape((b, l, heads, 1, c / heads))?;
    let x = x.repeat((1, 1, 1, times, 1))?;
    x.reshape((b, l, c * times))
}

/// A loaded encoder.
pub struct Qwen2Encoder {
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    sizes: Qwen2Sizes,
    config: Qwen2Config,
}

impl Qwen2Encoder {
    /// Tensors of every checkpoint, whose names may begin with `model`.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&["embed_tokens.weight", "layers.0.self_attn.q_proj.bias"]],
    };

    /// Reads the layers; a head for words and a vision tower are left alone.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies, or `config` does not fit.
    pub fn load(w: &Weights, config: &Qwen2Config) -> Result<Self> {
        let [rows, width] = w.dims("embed_tokens.weight")?;
        let first = w.pp("layers.0");
        let [key_width, _] = first.dims("self_attn.k_proj.weight")?;
        let [hidden, _] = first.dims("mlp.gate_proj.weight")?;
        let sizes = Qwen2Sizes {
            rows,
            width,
            key_width,
            hidden,
            layers: w.count("layers"),
        };
        check_config(config, &sizes)?;
        let eps = config.rms_norm_eps;
        let layer = |i| Layer::load(&w.pp("layers").pp(i), &sizes, eps);
        Ok(Self {
            embed_tokens: w.get((rows, width), "embed_tokens.weight")?,
            layers: (0..sizes.layers).map(layer).collect::<Result<_>>()?,
            norm: RmsNorm::load(&w.pp("norm"), width, eps)?,
            sizes,
            config: config.clone(),
        })
    }

    /// The sizes.
    pub fn sizes(&self) -> &Qwen2Sizes {
        &self.sizes
    }

    /// Ids of one prompt -> (tokens, width). Tokens see those before them whose `mask` is set.
    /// `watch` receives the residual stream (1, tokens, width) before each layer.
    ///
    /// # Errors
    /// There are no ids, or one lies outside the embedding.
    pub fn encode(
        &self,
        ids: &[u32],
        mask: &[bool],
        watch: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let rows = self.sizes.rows;
        if ids.is_empty() || ids.len() != mask.len() {
            return Err(Error::internal(
                "a text without tokens, or with another mask",
            ));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
            return Err(Error::input(format!(
                "token {id}, but the text encoder has {rows} tokens"
            ))
            .with_hint("are tokenizer.json and the weights of the same model?"));
        }
        let device = self.embed_tokens.device();
        let ids = Tensor::new(ids, device)?;
        let Qwen2Config {
            num_attention_heads: heads,
            num_key_value_heads: key_heads,
            ..
        } = self.config;
        let width = self.sizes.width / heads;
        let positions: Vec<i64> = (0..mask.len() as i64).collect();
        let rotation = Rotation::of_text(&positions, width, self.config.rope_theta, device)?;
        let bias = self.bias(mask)?;
        let mut x = self.embed_tokens.index_select(&ids, 0)?.unsqueeze(0)?; // (1, L, width)
        for (i, layer) in self.layers.iter().enumerate() {
            interrupt::check()?;
            watch(i, &x);
            x = layer.forward(&x, [heads, key_heads], &rotation, &bias)?;
        }
        Ok(self.norm.forward(&x)?.squeeze(0)?)
    }

    /// The bias of attention scores: (1, 1, L, L), queries before keys.
    fn bias(&self, mask: &[bool]) -> Result<Tensor> {
        let length = mask.len();
        let mut values = Vec::with_capacity(length * length);
        for query in 0..length {
            for (key, seen) in mask.iter().enumerate() {
                values.push(if *seen && key <= query { 0.0 } else { HIDDEN });
            }
        }
        let device = self.embed_tokens.device();
        let bias = Tensor::from_vec(values, (1, 1, length, length), device)?;
        Ok(bias.to_dtype(self.embed_tokens.dtype())?)
    }
}

/// Checks that `config.json` and the weights agree.
fn check_config(config: &Qwen2Config, sizes: &Qwen2Sizes) -> Result<()> {
    let heads = config.num_attention_heads;
    let key_heads = config.num_key_value_heads;
    let wrong = |message: String| {
        Err(
            Error::input(format!("config.json of the text encoder: {message}"))
                .with_hint("are config.json and the weights of the same model?"),
        )
    };
    if heads == 0 || !sizes.width.is_multiple_of(2 * heads) {
        let width = sizes.width;
        return wrong(format!(
            "{heads} heads do not divide {width} into even widths"
        ));
    }
    let shares = key_heads > 0 && heads.is_multiple_of(key_heads);
    if !shares || sizes.width / heads * key_heads != sizes.key_width {
        let found = sizes.key_width;
        return wrong(format!(
            "{key_heads} heads of keys for {heads} of queries do not fit keys of width {found}"
        ));
    }
    if config.use_sliding_window {
        return wrong("expected use_sliding_window to be false, found true".to_owned());
    }
    Ok(())
}
