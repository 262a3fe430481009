//! CLIP: pictures and texts as directions of one space, close where they fit (arXiv 2103.00020).
//!
//! Reference: Hugging Face `modeling_clip.py`; the fields are named as in its files.

use candle_core::{Device, Tensor};
use serde::Deserialize;

use crate::{
    Result,
    nn::{Activation, LayerNorm, Linear, Mlp, SelfAttention, VitBlock, Weights},
};

mod text;
mod vision;

pub use text::TextModel;
pub use vision::VisionModel;

/// All LayerNorms of all released models.
const EPS: f32 = 1e-5;

/// What the weights cannot tell, from the file's `config.json`, which leaves out what is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Of the network that reads.
    pub text_config: TextConfig,
    /// Of the network that sees.
    pub vision_config: VisionConfig,
}

/// What the weights of the text network cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Heads of each block.
    pub num_attention_heads: usize,
    /// The bend of the feed-forward layers.
    pub hidden_act: Bend,
}

/// What the weights of the vision network cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Heads of each block.
    pub num_attention_heads: usize,
    /// The bend of the feed-forward layers.
    pub hidden_act: Bend,
}

/// The bends by their names in a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bend {
    /// OpenAI's models.
    #[default]
    QuickGelu,
    /// Models of OpenCLIP.
    Gelu,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self { num_attention_heads: 8, hidden_act: Bend::QuickGelu }
    }
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self { num_attention_heads: 12, hidden_act: Bend::QuickGelu }
    }
}

impl From<Bend> for Activation {
    fn from(bend: Bend) -> Self {
        match bend {
            Bend::QuickGelu => Self::QuickGelu,
            Bend::Gelu => Self::Gelu,
        }
    }
}

/// The two networks and what brings them into one space. Its sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Reads.
    pub text_model: TextModel,
    /// Sees.
    pub vision_model: VisionModel,
    text_projection: Linear,
    visual_projection: Linear,
    device: Device,
}

impl Clip {
    /// Reads a file of Hugging Face.
    pub fn load(w: &Weights, config: &Config) -> Result<Self> {
        let text_model = TextModel::load(&w.pp("text_model"), &config.text_config)?;
        let vision_model = VisionModel::load(&w.pp("vision_model"), &config.vision_config)?;
        let [shared, _] = w.dims("text_projection.weight")?;
        let project = |name: &str, width: usize| Linear::load_no_bias(&w.pp(name), width, shared);
        Ok(Self {
            text_projection: project("text_projection", text_model.width())?,
            visual_projection: project("visual_projection", vision_model.width())?,
            text_model,
            vision_model,
            device: w.device().clone(),
        })
    }

    /// Where the weights lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The direction of a text, (E), not normalised. `ids` begin with the start and end with the end, without padding.
    pub fn embed_text(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(self.text_projection.forward(&self.text_model.pooled(ids)?)?.squeeze(0)?)
    }

    /// The directions of pictures (B, 3, side, side), normalised with the mean and deviation of CLIP: (B, E), not
    /// normalised.
    pub fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        let pooled = self.vision_model.pooled(&self.vision_model.forward(pixels)?)?;
        Ok(self.visual_projection.forward(&pooled)?)
    }
}

/// The blocks below `w`, pre-norm, with queries, keys and values apart.
fn blocks(w: &Weights, width: usize, heads: usize, act: Activation) -> Result<Vec<VitBlock>> {
    if heads == 0 || !width.is_multiple_of(heads) {
        let expected = format!("a width that {heads} heads share");
        return Err(w.mismatch("layers.0.layer_norm1.weight", expected, width.to_string()));
    }
    let block = |i: usize| {
        let w = w.pp("layers").pp(i);
        let parts = ["q_proj", "k_proj", "v_proj"];
        Ok(VitBlock {
            norm1: LayerNorm::load(&w.pp("layer_norm1"), width, EPS)?,
            attn: SelfAttention::load_apart(&w.pp("self_attn"), parts, "out_proj", width, heads)?,
            ls1: None,
            norm2: LayerNorm::load(&w.pp("layer_norm2"), width, EPS)?,
            mlp: Mlp::load(&w.pp("mlp"), width, act)?,
            ls2: None,
        })
    };
    (0..w.count("layers").max(1)).map(block).collect()
}
