//! What the weights of a CLIP cannot tell, in the words of either layout.

use serde::Deserialize;

use crate::nn::Activation;

/// Of all LayerNorms where nothing else is said; OpenCLIP never says it.
const EPS: f32 = 1e-5;

/// From the `config.json` of Hugging Face, which leaves out what is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Of the network that reads.
    pub text_config: TextConfig,
    /// Of the network that sees.
    pub vision_config: VisionConfig,
}

/// What the weights of the text network cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Heads of each block.
    pub num_attention_heads: usize,
    /// The bend of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
}

/// What the weights of the vision network cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Heads of each block.
    pub num_attention_heads: usize,
    /// The bend of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            num_attention_heads: 8,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: EPS,
        }
    }
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            num_attention_heads: 12,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: EPS,
        }
    }
}

/// From the model file of OpenCLIP (`model_configs/ViT-H-14.json` and its like), which leaves out
/// what is as usual.
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
        Self {
            width: 768,
            head_width: 64,
        }
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
        let vision_cfg = OpenClipVision {
            width: 1280,
            head_width: 80,
        };
        Self {
            vision_cfg,
            text_cfg: OpenClipText { heads: 16 },
            quick_gelu: false,
        }
    }
}

impl From<OpenClipConfig> for Config {
    fn from(config: OpenClipConfig) -> Self {
        let hidden_act = if config.quick_gelu {
            Activation::QuickGelu
        } else {
            Activation::Gelu
        };
        let heads = config.vision_cfg.width / config.vision_cfg.head_width.max(1);
        Self {
            text_config: TextConfig {
                num_attention_heads: config.text_cfg.heads,
                hidden_act,
                layer_norm_eps: EPS,
            },
            vision_config: VisionConfig {
                num_attention_heads: heads,
                hidden_act,
                layer_norm_eps: EPS,
            },
        }
    }
}
