//! ImageReward: how people would rate an image for a prompt, learned from their comparisons (arXiv 2304.05977).
//!
//! Reference: THUDM/ImageReward, `ImageReward/ImageReward.py`. A BLIP reads the prompt while it looks at the picture;
//! five linear layers turn what it makes of `[CLS]` into a number that is about normally distributed.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::Scorer;
use crate::{
    Error, Result,
    image::{Filter, Image},
    models::blip::{Prompt, TextConfig, TextEncoder, VisualEncoder},
    nn::{Linear, Weights},
    text::WordPieceTokenizer,
};

/// Mean of each channel over CLIP's training pictures.
const PIXEL_MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of each channel over CLIP's training pictures.
const PIXEL_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Mean of the last layer over the authors' data; less this, scores are about standard normal.
const REWARD_MEAN: f32 = 0.167_173_63;
/// Standard deviation of the last layer over the authors' data.
const REWARD_STD: f32 = 1.033_339_5;

/// The original cuts prompts to 35 tokens, `[CLS]` and `[SEP]` included.
const MAX_TOKENS: usize = 35;

/// Places of the linear layers in the original's list; between the others stands Dropout, and no bend anywhere.
const LAYERS: [usize; 5] = [0, 2, 4, 6, 7];

/// Images that go through the network together, which bounds the memory.
const TOGETHER: usize = 16;

/// The scorer.
pub struct ImageReward {
    tokenizer: WordPieceTokenizer,
    visual_encoder: VisualEncoder,
    text_encoder: TextEncoder,
    layers: Vec<Linear>,
    device: Device,
}

impl ImageReward {
    /// Reads the weights of `ImageReward.pt`. `text` is what `med_config.json` says; `vision_heads` may be `None` for
    /// the released widths, 768 and 1024.
    ///
    /// # Errors
    /// A tensor is missing or of another shape, or the tokenizer has more words than the weights.
    pub fn load(
        w: &Weights,
        text: &TextConfig,
        vision_heads: Option<usize>,
        tokenizer: WordPieceTokenizer,
    ) -> Result<Self> {
        let visual_encoder = VisualEncoder::load(&w.pp("blip.visual_encoder"), vision_heads)?;
        let text_encoder = TextEncoder::load(&w.pp("blip.text_encoder"), text, visual_encoder.width())?;
        if tokenizer.size() > text_encoder.words() {
            let (has, knows) = (tokenizer.size(), text_encoder.words());
            return Err(Error::input(format!("the tokenizer has {has} words, the weights of ImageReward {knows}"))
                .with_hint("vocabulary and weights must belong together: bert-base-uncased for the released weights"));
        }
        let layers = load_layers(&w.pp("mlp.layers"), text_encoder.width())?;
        Ok(Self { tokenizer, visual_encoder, text_encoder, layers, device: w.device().clone() })
    }

    /// What the vision transformer reads of some images: (B, 3, side, side).
    pub fn pixels(&self, images: &[Image]) -> Result<Tensor> {
        let side = self.visual_encoder.side();
        let planes = images.par_iter().map(|image| {
            let image = image.resize_shorter_side(side, Filter::Bicubic).center_crop(side, side);
            image.to_chw(PIXEL_MEAN, PIXEL_STD)
        });
        let planes: Vec<_> = planes.collect();
        Ok(Tensor::from_vec(planes.concat(), (images.len(), 3, side, side), &self.device)?)
    }

    /// Reads a prompt, without padding: what is masked changes nothing.
    pub fn prompt(&self, prompt: &str) -> Result<Prompt> {
        let padded = self.tokenizer.encode(prompt, MAX_TOKENS.min(self.text_encoder.positions()))?;
        let tokens = padded.mask.iter().take_while(|&&m| m != 0).count();
        self.text_encoder.prompt(&padded.ids[..tokens], &padded.mask[..tokens])
    }

    /// What BLIP makes of `[CLS]` for each picture: (B, W).
    pub fn features(&self, prompt: &Prompt, pixels: &Tensor) -> Result<Tensor> {
        let image_embeds = self.visual_encoder.forward(pixels)?; // (B, T, vision width)
        let hidden = self.text_encoder.forward(prompt, &image_embeds)?; // (B, L, W)
        Ok(hidden.narrow(1, 0, 1)?.squeeze(1)?)
    }

    /// Features (B, W) -> B scores.
    pub fn rewards(&self, features: &Tensor) -> Result<Vec<f32>> {
        let mut x = features.unsqueeze(1)?; // (B, 1, W)
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        let raw: Vec<f32> = x.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        Ok(raw.into_iter().map(|reward| (reward - REWARD_MEAN) / REWARD_STD).collect())
    }
}

impl Scorer for ImageReward {
    fn score(&self, prompt: &str, images: &[Image]) -> Result<Vec<f32>> {
        let prompt = self.prompt(prompt)?;
        let mut scores = Vec::with_capacity(images.len());
        for images in images.chunks(TOGETHER) {
            scores.extend(self.rewards(&self.features(&prompt, &self.pixels(images)?)?)?);
        }
        Ok(scores)
    }

    /// For a prompt of full length.
    fn flops(&self, images: usize) -> f64 {
        let text = self.text_encoder.flops(MAX_TOKENS, self.visual_encoder.tokens());
        let head: f64 = self.layers.iter().map(|layer| layer.flops(1)).sum();
        images as f64 * (self.visual_encoder.flops() + text + head)
    }
}

/// The layers below `w`, from `width` numbers to one; the widths between are read off the weights.
fn load_layers(w: &Weights, mut width: usize) -> Result<Vec<Linear>> {
    let mut layers = Vec::new();
    for place in LAYERS {
        let w = w.pp(place);
        let [outputs, _] = w.dims("weight")?;
        layers.push(Linear::load(&w, width, outputs)?);
        width = outputs;
    }
    if width != 1 {
        let last = w.pp(LAYERS[LAYERS.len() - 1]);
        return Err(last.mismatch("weight", "one score", format!("{width}")));
    }
    Ok(layers)
}
