//! CLIP-Score: the cosine between the CLIP embeddings of an image and its prompt. Three definitions
//! are in use, whose scores are not comparable.

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
    text::ClipTokenizer,
};

/// CLIP-Score by its names.
pub static KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        family: "clip",
        built_in: BuiltIn::Never,
        published: true,
        weights: "clip-vit-large-patch14",
        other_weights: None,
        vocabulary: None,
        encoder: None,
        heads: false,
        signature: &Clip::SIGNATURE,
        encoder_signature: None,
        config: None,
    },
    variants: &[
        ("clip", unchanged),
        ("clip-100", |cosine| Definition::Percent.apply(cosine)),
        ("clip-2.5", |cosine| Definition::Hessel.apply(cosine)),
    ],
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
    loader.load(files.weights()?, "", &["logit_scale"], |weights| {
        let clip = Clip::load(weights, &config)?;
        let side = clip.vision_model.side();
        let preprocess = preprocessing(Preprocess::CLIP, files, side)?;
        let space = ClipSpace::new(clip, tokenizer, preprocess)?;
        Ok(Box::new(ClipScore::new(Arc::new(space), Definition::Cosine)) as _)
    })
}

/// The definition of the score in terms of the cosine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Definition {
    /// The cosine itself (T2I-CompBench, ImageReward's `CLIPScore`).
    #[default]
    Cosine,
    /// 100 times the cosine, at least 0 (torchmetrics).
    Percent,
    /// 2.5 times the cosine, at least 0 (Hessel et al., arXiv 2104.08718).
    Hessel,
}

impl Definition {
    /// The score for a cosine.
    pub fn apply(self, cosine: f32) -> f32 {
        match self {
            Self::Cosine => cosine,
            Self::Percent => at_least_0(100.0 * cosine),
            Self::Hessel => at_least_0(2.5 * cosine),
        }
    }
}

/// NaN stays NaN.
fn at_least_0(score: f32) -> f32 {
    if score < 0.0 { 0.0 } else { score }
}

/// The scorer.
pub struct ClipScore {
    space: Arc<ClipSpace>,
    definition: Definition,
}

impl ClipScore {
    /// A scorer by this definition; several scorers may share a space.
    pub fn new(space: Arc<ClipSpace>, definition: Definition) -> Self {
        Self { space, definition }
    }
}

impl ScorerNetwork for ClipScore {}

impl Scorer for ClipScore {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let cosines = self.space.cosines(prompt, images)?;
        Ok(cosines
            .into_iter()
            .map(|cosine| self.definition.apply(cosine))
            .collect())
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.space.prompt_reader("the scorer clip"))
    }

    fn flops(&self, images: usize) -> f64 {
        self.space.flops(images)
    }
}

#[cfg(test)]
mod tests {
    use super::Definition::{Cosine, Hessel, Percent};

    #[test]
    fn definitions_differ_in_factor_and_floor() {
        assert_eq!(
            [Cosine, Percent, Hessel].map(|definition| definition.apply(0.5)),
            [0.5, 50.0, 1.25]
        );
        assert_eq!(
            [Cosine, Percent, Hessel].map(|definition| definition.apply(-0.5)),
            [-0.5, 0.0, 0.0]
        );
        assert!(
            [Cosine, Percent, Hessel]
                .iter()
                .all(|definition| definition.apply(f32::NAN).is_nan())
        );
    }
}
