//! HPSv2.1: which of several pictures of a prompt people prefer, as the cosine in a CLIP that was
//! trained for it (arXiv 2306.09341).
//!
//! Reference: tgxs002/HPSv2, `hpsv2/img_score.py`. The score is the plain cosine, about .2 to .35
//! on real pictures.

use ttsvar_search::{Image, Scorer};

use crate::{
    Result,
    features::ClipSpace,
    image::Preprocess,
    models::clip::{Clip, Config},
    nn::Weights,
    text::ClipTokenizer,
};

/// The scorer.
pub struct Hps(ClipSpace);

impl Hps {
    /// Reads the weights of `HPS_v2.1_compressed.pt`. The tokenizer has to clean prompts:
    /// [`ClipTokenizer::open_clip`].
    ///
    /// # Errors
    /// A tensor is missing or of another shape, or the tokenizer has more words than the weights.
    pub fn load(w: &Weights, config: &Config, tokenizer: ClipTokenizer) -> Result<Self> {
        Ok(Self(ClipSpace::new(
            Clip::load(w, config)?,
            tokenizer,
            Preprocess::HPS,
        )?))
    }

    /// Where texts and pictures meet.
    pub fn space(&self) -> &ClipSpace {
        &self.0
    }
}

impl Scorer for Hps {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        Ok(self.0.cosines(prompt, images)?)
    }

    fn flops(&self, images: usize) -> f64 {
        self.0.flops(images)
    }
}
