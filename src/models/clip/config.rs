//! Settings of a CLIP that its weights do not reveal, in either file layout.

use serde::Deserialize;

use crate::nn::Activation;

/// The default for all LayerNorms; OpenCLIP's files never contain it.
const EPS: f32 = 1e-5;

/// The `config.json` of Hugging Face, which omits default values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Settings of the text encoder.
    pub text_config: TextConfig,
    /// Settings of the vision encoder.
    pub vision_config: VisionConfig,
}

/// Settings of the text encoder that its weights do not reveal.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Heads of each block.
    pub num_attention_heads: usize,
    /// The activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
}

/// Settings of the vision encoder that its weights do not reveal.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Heads of each block.
    pub num_attention_heads: usize,
    /// The activation of the feed-forward layers.
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

/// A model file of OpenCLIP (such as `model_configs/ViT-H-14.json`), which omits default values.
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
