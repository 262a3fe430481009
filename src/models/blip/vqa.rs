//! BLIP for visual question answering: one BERT encodes the question with cross-attention to the
//! image, another decodes the answer with cross-attention to the encoded question.
//!
//! Reference: salesforce/BLIP at commit 056a169, `models/blip_vqa.py`, lines 10-148; Karine-Huang/
//! T2I-CompBench at commit 1b70949, `BLIPvqa_eval/models/blip_vqa.py`, lines 133-148 (`vqa_prob`).

use candle_core::{Device, Tensor};

use super::{Prompt, TextConfig, TextEncoder, VisualEncoder};
use crate::{
    Result,
    nn::{Activation, LayerNorm, Linear, Signature, Weights},
};

/// The three networks and the prediction head. Sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct BlipVqa {
    /// The vision encoder.
    pub visual_encoder: VisualEncoder,
    /// The encoder of questions.
    pub text_encoder: TextEncoder,
    text_decoder: TextEncoder,
    predictions: Predictions,
    device: Device,
}

/// BERT's head: from the numbers of a token to a logit for each word.
#[derive(Clone, Debug)]
struct Predictions {
    dense: Linear,
    act: Activation,
    norm: LayerNorm,
    decoder: Linear,
}

impl BlipVqa {
    /// Tensors of every checkpoint.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "visual_encoder.cls_token",
            "text_decoder.bert.embeddings.word_embeddings.weight",
        ]],
    };

    /// Loads the weights below `model` of `model_base_vqa_capfilt_large.pth`. `text` comes from
    /// `med_config.json`; `vision_heads` may be `None` for the released widths, 768 and 1024.
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn load(w: &Weights, text: &TextConfig, vision_heads: Option<usize>) -> Result<Self> {
        let visual_encoder = VisualEncoder::load(&w.pp("visual_encoder"), vision_heads)?;
        let text_encoder = TextEncoder::load(&w.pp("text_encoder"), text, visual_encoder.width())?;
        let text_decoder =
            TextEncoder::load(&w.pp("text_decoder.bert"), text, text_encoder.width())?;
        let head = w.pp("text_decoder.cls.predictions");
        let predictions =
            Predictions::load(&head, text, text_decoder.width(), text_decoder.words())?;
        Ok(Self {
            visual_encoder,
            text_encoder,
            text_decoder,
            predictions,
            device: w.device().clone(),
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The encoded states of Q questions about one image: (1, T, vision width) -> (Q, L, W).
    pub fn question_states(&self, questions: &Prompt, image_embeds: &Tensor) -> Result<Tensor> {
        self.text_encoder.forward(questions, image_embeds)
    }

    /// The logits of each word as the first one of the answers: (Q, L, W) -> (Q, V). Answers
    /// begin with the token `start`.
    pub fn first_token_logits(
        &self,
        questions: &Prompt,
        states: &Tensor,
        start: u32,
    ) -> Result<Tensor> {
        let begun = self.text_decoder.prompt(&[start], &[1])?;
        let hidden = self
            .text_decoder
            .forward_masked(&begun, states, questions.mask())?; // (Q, 1, W)
        Ok(self.predictions.forward(&hidden)?.squeeze(1)?)
    }
}

impl Predictions {
    fn load(w: &Weights, text: &TextConfig, width: usize, words: usize) -> Result<Self> {
        Ok(Self {
            dense: Linear::load(&w.pp("transform.dense"), width, width)?,
            act: text.hidden_act,
            norm: LayerNorm::load(&w.pp("transform.LayerNorm"), width, text.layer_norm_eps)?,
            decoder: Linear::load(&w.pp("decoder"), width, words)?,
        })
    }

    /// (Q, L, W) -> (Q, L, V)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self
            .norm
            .forward(&self.act.forward(&self.dense.forward(x)?)?)?;
        Ok(self.decoder.forward(&x)?)
    }
}
