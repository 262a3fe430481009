//! The self-attention of models that draw an image scale by scale: queries and keys have length 1
//! per head, queries are multiplied by a learned temperature of their head, and the keys and values
//! of earlier scales are kept.

use candle_core::{DType, Result, Tensor};

use crate::nn::{Kv, Linear, Rope, Weights, attention_blocks, split_and_rotate};

const MAX_LOG_TEMPERATURE: f32 = 4.605_170_2; // ln 100: SelfAttention.max_scale_mul

/// Self-attention over the tokens of a scale and of those before it (`SelfAttention` of VAR and
/// Infinity with `attn_l2_norm`).
#[derive(Clone, Debug)]
pub struct CosineAttention {
    temperature: Vec<f32>, // exp of scale_mul_1H11, one per head
    mat_qkv: Linear,
    proj: Linear,
    kept_as: DType, // of keys and values
}

impl CosineAttention {
    /// Reads a layer of width `c` below `w`. Keys have no bias.
    pub fn load(w: &Weights, c: usize, heads: usize) -> crate::Result<Self> {
        let logs = w
            .get_reshaped(heads, "scale_mul_1H11")?
            .to_dtype(DType::F32)?
            .to_vec1::<f32>()?;
        let q_bias = w.get(c, "q_bias")?;
        let v_bias = w.get(c, "v_bias")?;
        let bias = Tensor::cat(&[&q_bias, &q_bias.zeros_like()?, &v_bias], 0)?;
        Ok(Self {
            temperature: logs
                .iter()
                .map(|log| log.min(MAX_LOG_TEMPERATURE).exp())
                .collect(),
            mat_qkv: Linear::load_with_bias(&w.pp("mat_qkv"), c, 3 * c, Some(bias))?,
            proj: Linear::load(&w.pp("proj"), c, c)?,
            kept_as: w.dtype().of_activations(),
        })
    }

    /// x (R, L, C) -> (R, L, C), and the keys and values of each row; `before[r]` are those of the
    /// earlier scales of row r.
    pub fn forward(
        &self,
        x: Tensor,
        before: &[Vec<&Kv>],
        rope: &Rope,
    ) -> Result<(Tensor, Vec<Kv>)> {
        let qkv = self.mat_qkv.forward(&x)?; // (R, L, 3C)
        drop(x);
        let (q, new) = split_and_rotate(&qkv, &self.temperature, rope, self.kept_as)?;
        drop(qkv);
        let seen = before
            .iter()
            .zip(&new)
            .map(|(before, new)| [&before[..], &[new]].concat());
        let seen: Vec<Vec<&Kv>> = seen.collect();
        let out = attention_blocks(&q, &seen, self.temperature.len(), 1.0, None)?; // (R, L, C)
        Ok((self.proj.forward(&out)?, new))
    }

    /// The type in which keys and values are kept.
    pub fn kept_as(&self) -> DType {
        self.kept_as
    }
}
