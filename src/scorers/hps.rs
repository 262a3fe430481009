//! HPSv2.1: human preference between images of the same prompt, as the cosine in a CLIP that was
//! trained for it (arXiv 2306.09341).
//!
//! Reference: tgxs002/HPSv2, `hpsv2/img_score.py`. The score is the plain cosine, about 0.2 to 0.35
//! on real images.

use std::sync::Arc;

use ttsvar_search::{Image, PromptReader, Scorer};

use super::{ScorerKind, ScorerNetwork, ScorerSettings, kind::unchanged};
use crate::{
    Result,
    features::ClipSpace,
    hub::{BuiltIn, ScorerFiles, ScorerRelease},
    image::Preprocess,
    loading::{Loaded, Loader},
    models::clip::{Clip, Config, OpenClipConfig},
    nn::Weights,
    text::ClipTokenizer,
};

/// HPSv2.1 by name.
pub static KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        family: "hps",
        built_in: BuiltIn::Never,
        published: true,
        weights: "hps-v2.1",
        other_weights: None,
        vocabulary: Some("clip-bpe"),
        encoder: None,
        heads: false,
        signature: &Clip::SIGNATURE,
        encoder_signature: None,
        config: Some(("open_clip_model_config.json", VIT_H_14)),
    },
    variants: &[("hps", unchanged)],
    reads_prompt: true,
    answers: false,
    standardised: false,
    load,
};

/// The OpenCLIP configuration of HPSv2, for folders that hold only the weights.
const VIT_H_14: &str = r#"{"embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80,
        "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16,
        "layers": 24}}"#;

fn load(
    files: &ScorerFiles,
    loader: &Loader,
    _: &ScorerSettings,
) -> Result<Loaded<Box<dyn ScorerNetwork>>> {
    let config: OpenClipConfig = files.config()?.json()?;
    let config = config.into();
    let tokenizer = ClipTokenizer::open_clip(&files.vocabulary()?)?;
    loader.load(files.weights()?, "", &["logit_scale"], |weights| {
        Ok(Box::new(Hps::load(weights, &config, tokenizer)?) as _)
    })
}

/// The scorer.
pub struct Hps(ClipSpace);

impl Hps {
    /// Loads the weights of `HPS_v2.1_compressed.pt`. The tokenizer must clean prompts as
    /// [`ClipTokenizer::open_clip`] does.
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

    /// The joint embedding space of texts and images.
    pub fn space(&self) -> &ClipSpace {
        &self.0
    }
}

impl ScorerNetwork for Hps {}

impl Scorer for Hps {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        Ok(self.0.cosines(prompt, images)?)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.0.prompt_reader("the scorer hps"))
    }

    fn flops(&self, images: usize) -> f64 {
        self.0.flops(images)
    }
}
