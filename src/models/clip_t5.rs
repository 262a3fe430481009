//! CLIP-FlanT5: a CLIP sees an image as tokens, which stand in the question that a T5 encodes; its
//! decoder tells how likely an answer is (arXiv 2404.01291).
//!
//! Reference: linzhiqiu/t2v_metrics at commit 10d549b, `t2v_metrics/models/vqascore_models/`:
//! `clip_t5/model/language_model/clip_t5.py` (splicing), `multimodal_encoder/clip_encoder.py` (the
//! layer that is read), `multimodal_projector/builder.py`. The fields are named as in its files.

use candle_core::{D, DType, Device, Tensor};
use serde::Deserialize;

use super::{
    clip::{VisionConfig, VisionModel},
    t5::{T5Config, T5Decoder, T5Encoder},
};
use crate::{
    Error, Result,
    nn::{Activation, Linear, Signature, Weights},
};

/// The `config.json` of a CLIP-FlanT5 folder.
#[derive(Clone, Debug, Deserialize)]
pub struct ClipT5Config {
    /// Settings of the T5.
    #[serde(flatten)]
    pub t5: T5Config,
    /// The hidden state of the vision tower that is read, counted from its last one, -1.
    #[serde(default = "second_last")]
    pub mm_vision_select_layer: i64,
    /// The tokens that are read; only `patch` is supported.
    #[serde(default = "patch")]
    pub mm_vision_select_feature: String,
    /// The kind of projector; only `mlpNx_gelu` is supported.
    #[serde(default = "two_layers")]
    pub mm_projector_type: String,
    /// How images become square; only `pad` is supported.
    #[serde(default = "pad")]
    pub image_aspect_ratio: String,
}

fn second_last() -> i64 {
    -2
}

fn patch() -> String {
    "patch".to_owned()
}

fn two_layers() -> String {
    "mlp2x_gelu".to_owned()
}

fn pad() -> String {
    "pad".to_owned()
}

impl ClipT5Config {
    /// The number of layers of the projector.
    fn projector_layers(&self) -> Option<usize> {
        let number = self.mm_projector_type.strip_prefix("mlp")?;
        number.strip_suffix("x_gelu")?.parse().ok()
    }

    /// The layers of a tower that run, of `layers`.
    fn tower_layers(&self, layers: usize) -> Option<usize> {
        let from_end = usize::try_from(-self.mm_vision_select_layer).ok()?;
        (from_end > 0).then_some(())?;
        (layers + 1).checked_sub(from_end)
    }

    /// # Errors
    /// A setting is not supported.
    fn check(&self) -> Result<()> {
        let settings = [
            (
                "mm_vision_select_feature",
                "patch",
                &self.mm_vision_select_feature,
            ),
            ("image_aspect_ratio", "pad", &self.image_aspect_ratio),
        ];
        for (name, expected, found) in settings {
            if found != expected {
                let found = found.escape_debug();
                return Err(Error::input(format!(
                    "config.json: expected {name} `{expected}`, found `{found}`"
                ))
                .with_hint("use clip-flant5-xl or clip-flant5-xxl"));
            }
        }
        Ok(())
    }
}

/// Linear layers with GELU between them.
struct Projector(Vec<Linear>);

impl Projector {
    fn load(w: &Weights, layers: usize, from: usize, to: usize) -> Result<Self> {
        let mut loaded = vec![];
        for i in 0..layers {
            let inputs = if i == 0 { from } else { to };
            loaded.push(Linear::load(&w.pp(2 * i), inputs, to)?);
        }
        Ok(Self(loaded))
    }

    /// (B, P, from) -> (B, P, to)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.0.iter().enumerate() {
            if i > 0 {
                x = Activation::Gelu.forward(&x)?;
            }
            x = layer.forward(&x)?;
        }
        Ok(x)
    }

    fn flops(&self, tokens: usize) -> f64 {
        self.0.iter().map(|layer| layer.flops(tokens)).sum()
    }
}

/// A question with a place for the image, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Before the image.
    pub left: Vec<u32>,
    /// After the image.
    pub right: Vec<u32>,
}

/// What encoder and decoder need of a question besides its tokens. It is the same for all images.
pub struct PreparedQuestion {
    left: Tensor,  // (1, l, width)
    right: Tensor, // (1, r, width)
    /// Of the encoder's attention: (1, heads, S, S).
    bias: Tensor,
    /// Of the decoder's cross-attention, if a token is hidden: (1, 1, 1, S).
    mask: Option<Tensor>,
    tokens: usize,
}

/// The networks.
pub struct ClipT5 {
    vision_tower: VisionModel,
    mm_projector: Projector,
    /// The encoder of T5.
    pub encoder: T5Encoder,
    /// The decoder of T5.
    pub decoder: T5Decoder,
    tower_layers: usize,
    device: Device,
}

/// The id of padding. The encoder does not see tokens that have it.
const PADDING: u32 = 0;

impl ClipT5 {
    /// Tensors of every checkpoint.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "mm_projector.0.weight",
            "decoder.block.0.layer.1.EncDecAttention.q.weight",
        ]],
    };

    /// Loads a checkpoint. `tower` comes from the `config.json` of the vision tower; `words` is the
    /// size of the tokenizer's vocabulary.
    ///
    /// # Errors
    /// A tensor is missing or of another shape, or a setting is not supported.
    pub fn load(
        w: &Weights,
        config: &ClipT5Config,
        tower: &VisionConfig,
        words: usize,
    ) -> Result<Self> {
        config.check()?;
        let encoder = T5Encoder::load(w, &config.t5)?;
        let decoder = T5Decoder::load(w, &config.t5, &encoder, words)?;
        let tower_weights = w.pp("vision_tower.vision_tower.vision_model");
        let vision_tower = VisionModel::load_hugging_face(&tower_weights, tower)?;
        let unsupported = |name: &str, found: String| {
            Error::input(format!(
                "config.json: {name} is `{found}`, which is not supported"
            ))
            .with_hint("use clip-flant5-xl or clip-flant5-xxl")
        };
        let layers = config.projector_layers().filter(|layers| *layers > 0);
        let layers = layers.ok_or_else(|| {
            let kind = config.mm_projector_type.escape_debug();
            unsupported("mm_projector_type", kind.to_string())
        })?;
        let tower_layers = config.tower_layers(vision_tower.layers()).ok_or_else(|| {
            let layer = config.mm_vision_select_layer;
            unsupported("mm_vision_select_layer", layer.to_string())
        })?;
        let from = vision_tower.width();
        let to = encoder.sizes().width;
        Ok(Self {
            mm_projector: Projector::load(&w.pp("mm_projector"), layers, from, to)?,
            vision_tower,
            encoder,
            decoder,
            tower_layers,
            device: w.device().clone(),
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The vision encoder.
    pub fn tower(&self) -> &VisionModel {
        &self.vision_tower
    }

    /// Side in pixels of the images that it expects.
    pub fn side(&self) -> usize {
        self.vision_tower.side()
    }

    /// Tokens of an image.
    pub fn patches(&self) -> usize {
        self.vision_tower.patches()
    }

    /// What the tower sees in images (B, 3, side, side): (B, P, tower width).
    pub fn tower_tokens(&self, pixels: &Tensor) -> Result<Tensor> {
        let states = self
            .vision_tower
            .forward_layers(pixels, self.tower_layers)?; // (B, 1 + P, C)
        Ok(states.narrow(1, 1, self.patches())?.contiguous()?)
    }

    /// The same as tokens of the T5: (B, P, width).
    pub fn image_tokens(&self, pixels: &Tensor) -> Result<Tensor> {
        self.mm_projector.forward(&self.tower_tokens(pixels)?)
    }

    /// Computes the part of a question that all images share.
    ///
    /// # Errors
    /// A token lies outside the embedding.
    pub fn prepare(&self, question: &Question) -> Result<PreparedQuestion> {
        let patches = self.patches();
        let mut hidden: Vec<bool> = question.left.iter().map(|id| *id == PADDING).collect();
        hidden.extend(vec![false; patches]);
        hidden.extend(question.right.iter().map(|id| *id == PADDING));
        let left = self.encoder.embed(&question.left)?.unsqueeze(0)?;
        let mask = hidden.contains(&true).then(|| {
            let values: Vec<f32> = hidden
                .iter()
                .map(|hidden| if *hidden { f32::NEG_INFINITY } else { 0.0 })
                .collect();
            let mask = Tensor::from_vec(values, (1, 1, 1, hidden.len()), &Device::Cpu)?;
            mask.to_dtype(left.dtype())?.to_device(&self.device)
        });
        let mask = mask.transpose()?;
        let mut bias = self.encoder.bias(hidden.len())?;
        if let Some(mask) = &mask {
            bias = bias.broadcast_add(mask)?;
        }
        Ok(PreparedQuestion {
            right: self.encoder.embed(&question.right)?.unsqueeze(0)?,
            left,
            bias,
            mask,
            tokens: hidden.len(),
        })
    }

    /// The encoder's input: the image's tokens in their place in the question, (B, S, width).
    pub fn spliced(&self, question: &PreparedQuestion, image_tokens: &Tensor) -> Result<Tensor> {
        let rows = image_tokens.dims()[0];
        let left = question.left.repeat((rows, 1, 1))?;
        let right = question.right.repeat((rows, 1, 1))?;
        Ok(Tensor::cat(&[&left, image_tokens, &right], 1)?)
    }

    /// The encoder's output for its input: (B, S, width) -> (B, S, width).
    pub fn encode(&self, question: &PreparedQuestion, spliced: &Tensor) -> Result<Tensor> {
        self.encoder.forward(spliced, &question.bias)
    }

    /// The logits of each word at each token of an answer: (B, S, width) -> (B, A, words).
    pub fn answer_logits(
        &self,
        question: &PreparedQuestion,
        encoded: &Tensor,
        answer: &[u32],
    ) -> Result<Tensor> {
        let mask = question.mask.as_ref();
        let states = self.decoder.forward(&self.encoder, encoded, mask, answer)?;
        self.decoder.logits(&states)
    }

    /// Floating-point operations for one image, a question of this many tokens and an answer.
    pub fn flops(&self, question: usize, answer: usize) -> f64 {
        let tokens = question + self.patches();
        let sizes = self.encoder.sizes();
        let sees = self.vision_tower.flops() + self.mm_projector.flops(self.patches());
        sees + sizes.flops(tokens) + self.decoder.flops(sizes, answer, tokens)
    }
}

impl PreparedQuestion {
    /// Tokens of the encoder's input, those of the image included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// The logarithm of the probability of each token of an answer: logits (B, A, words) -> B times A.
///
/// # Errors
/// The tensor library fails, or a token lies outside the words.
pub fn log_probabilities(logits: &Tensor, answer: &[u32]) -> Result<Vec<Vec<f32>>> {
    let logits = logits.to_dtype(DType::F32)?;
    let top = logits.max_keepdim(D::Minus1)?;
    let sums = logits.broadcast_sub(&top)?.exp()?.sum_keepdim(D::Minus1)?;
    let total = (sums.log()? + top)?.squeeze(2)?; // (B, A)
    let total: Vec<Vec<f32>> = total.to_vec2()?;
    let mut all = vec![];
    for (b, total) in total.iter().enumerate() {
        let mut row = vec![];
        for (a, (id, total)) in answer.iter().zip(total).enumerate() {
            let logit: f32 = logits.get(b)?.get(a)?.get(*id as usize)?.to_scalar()?;
            row.push(logit - total);
        }
        all.push(row);
    }
    Ok(all)
}
