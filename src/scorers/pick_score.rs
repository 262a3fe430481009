//! PickScore: human preference between images of the same prompt, as the scaled cosine in a CLIP
//! that was trained for it (arXiv 2305.01569).
//!
//! Reference: yuvalkirstain/PickScore at commit f79607f, `README.md`. The score is the cosine times
//! `exp(logit_scale)`, about 100; other programs report the cosine under the same name.

use std::sync::Arc;

use ttsvar_search::{Image, PromptReader, Scorer};

use super::{
    ScorerKind, ScorerNetwork, ScorerSettings,
    kind::{preprocessing, unchanged},
};
use crate::{
    Result,
    features::ClipSpace,
    hub::{BuiltIn, ScorerFiles, ScorerRelease},
    image::Preprocess,
    loading::{Loaded, Loader},
    models::clip::{Clip, Config},
    nn::Weights,
    text::ClipTokenizer,
};

/// PickScore by name.
pub static KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        family: "pick",
        built_in: BuiltIn::Never,
        published: true,
        weights: "pickscore-v1",
        other_weights: None,
        vocabulary: Some("clip-tokenizer"),
        encoder: None,
        heads: false,
        signature: &Clip::SIGNATURE,
        encoder_signature: None,
        config: None,
    },
    variants: &[("pick", unchanged)],
    reads_prompt: true,
    answers: false,
    standardised: false,
    load,
};

fn load(
    files: &ScorerFiles,
    loader: &Loader,
    _: &ScorerSettings,
) -> Result<Loaded<Box<dyn ScorerNetwork>>> {
    let config: Config = files.config()?.json()?;
    let tokenizer = ClipTokenizer::open(&files.vocabulary()?)?;
    loader.load(files.weights()?, "", &[], |weights| {
        let clip = Clip::load(weights, &config)?;
        let side = clip.vision_model.side();
        let preprocess = preprocessing(Preprocess::CLIP_PROCESSOR, files, side)?;
        let space = ClipSpace::new(clip, tokenizer, preprocess)?;
        Ok(Box::new(PickScore::load(weights, space)?) as _)
    })
}

/// The scorer.
pub struct PickScore {
    space: ClipSpace,
    /// `exp(logit_scale)`, by which a cosine is multiplied.
    scale: f32,
}

impl PickScore {
    /// Loads the scale of the weights from which the space was loaded. The preprocessing must be
    /// [`Preprocess::CLIP_PROCESSOR`].
    ///
    /// # Errors
    /// The weights have no scale.
    pub fn load(w: &Weights, space: ClipSpace) -> Result<Self> {
        let scale = w.number("logit_scale")?.exp();
        Ok(Self { space, scale })
    }

    /// The cosine between a prompt and each image.
    ///
    /// # Errors
    /// The prompt cannot be split, or the network fails.
    pub fn cosines(&self, prompt: &str, images: &[Image]) -> Result<Vec<f32>> {
        self.space.cosines(prompt, images)
    }
}

impl ScorerNetwork for PickScore {}

impl Scorer for PickScore {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let mut scores = self.cosines(prompt, images)?;
        for score in &mut scores {
            *score *= self.scale;
        }
        Ok(scores)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.space.prompt_reader("the scorer pick"))
    }

    fn flops(&self, images: usize) -> f64 {
        self.space.flops(images)
    }
}
