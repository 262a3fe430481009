//! What the weights of a CLIP cannot tell, in the words of either layout.

use serde::Deserialize;

use crate::nn::Activation;

/// From the `config.json` of Hugging Face, which leaves out what is as usual.
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

/// From the model file of OpenCLIP (`model_configs/ViT-H-14.json` and its like), which leaves out what is as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct OpenClipConfig {
    vision_cfg: OpenClipVision,
    text_cfg: OpenClipText,
    quick_gelu: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct OpenClipVision {
    width: usize,
    head_width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct OpenClipText {
    heads: usize,
}

impl Default for OpenClipVision {
    fn default() -> Self {
        Self { width: 768, head_width: 64 }
    }
}

impl Default for OpenClipText {
    fn default() -> Self {
        Self { heads: 8 }
    }
}

impl Default for OpenClipConfig {
    /// ViT-H-14.
    fn default() -> Self {
        let vision_cfg = OpenClipVision { width: 1280, head_width: 80 };
        Self { vision_cfg, text_cfg: OpenClipText { heads: 16 }, quick_gelu: false }
    }
}

impl From<OpenClipConfig> for Config {
    fn from(config: OpenClipConfig) -> Self {
        let hidden_act = if config.quick_gelu { Bend::QuickGelu } else { Bend::Gelu };
        let heads = config.vision_cfg.width / config.vision_cfg.head_width.max(1);
        Self {
            text_config: TextConfig { num_attention_heads: config.text_cfg.heads, hidden_act },
            vision_config: VisionConfig { num_attention_heads: heads, hidden_act },
        }
    }
}
