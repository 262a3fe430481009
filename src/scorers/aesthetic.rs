//! Aesthetic predictor v2.5: how pleasing an image is, independent of the prompt.
//!
//! Reference: discus0434/aesthetic-predictor-v2-5, `siglip_v2_5.py`: the normalized image embedding
//! of SigLIP, then five linear layers that give a score of about 1 to 10. (TTS-VAR divides it by
//! 10.)

use candle_core::Tensor;
use ttsvar_search::{Image, Scorer};

use super::{
    ScorerKind, ScorerNetwork, ScorerSettings,
    head::Head,
    kind::{preprocessing, unchanged},
};
use crate::{
    Result,
    features::clip::normalised,
    hub::{BuiltIn, ScorerFiles, ScorerRelease},
    image::Preprocess,
    loading::{Loaded, Loader},
    models::siglip::{Config, SiglipVision},
    nn::{Signature, Weights},
};

/// The aesthetic predictor by name.
pub static KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        family: "aesthetic",
        built_in: BuiltIn::Never,
        published: true,
        weights: "aesthetic-v2.5",
        other_weights: None,
        vocabulary: None,
        encoder: Some("siglip-so400m-patch14-384"),
        heads: false,
        signature: &Signature {
            layouts: &[&["scoring_head.0.weight", "scoring_head.8.weight"]],
        },
        encoder_signature: Some(&SiglipVision::SIGNATURE),
        config: None,
    },
    variants: &[("aesthetic", unchanged)],
    reads_prompt: false,
    answers: false,
    standardised: false,
    load,
};

fn load(
    files: &ScorerFiles,
    loader: &Loader,
    _: &ScorerSettings,
) -> Result<Loaded<Box<dyn ScorerNetwork>>> {
    let config = files.config()?.json()?;
    let head = files.weights()?;
    // The published file has a text tower too; report only unread tensors of the vision tower.
    loader.load(files.encoder()?, "vision_model.", &[], |siglip| {
        let head = siglip.beside(head);
        let mut aesthetic = Aesthetic::load(siglip, &config, &head)?;
        let side = aesthetic.vision_model.side();
        aesthetic.preprocess = preprocessing(aesthetic.preprocess, files, side)?;
        Ok(Box::new(aesthetic) as _)
    })
}

/// Indices of the linear layers in the original's list; between them is Dropout.
const LAYERS: [usize; 5] = [0, 2, 4, 6, 8];

/// Images that run through the network together, which bounds memory.
const BATCH: usize = 8;

/// The scorer.
pub struct Aesthetic {
    vision_model: SiglipVision,
    scoring_head: Head,
    preprocess: Preprocess,
    device: candle_core::Device,
}

impl Aesthetic {
    /// Loads the vision tower of a SigLIP and the weights of `aesthetic_predictor_v2_5.pth`.
    ///
    /// # Errors
    /// A tensor is missing or of another shape, or the two do not fit together.
    pub fn load(siglip: &Weights, config: &Config, head: &Weights) -> Result<Self> {
        let vision_model = SiglipVision::load(&siglip.pp("vision_model"), &config.vision_config)?;
        let scoring_head = Head::load(&head.pp("scoring_head"), &LAYERS, vision_model.width())?;
        Ok(Self {
            vision_model,
            scoring_head,
            preprocess: Preprocess::SIGLIP,
            device: siglip.device().clone(),
        })
    }

    /// The network's input for some images: (B, 3, side, side).
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn pixels(&self, images: &[Image]) -> Result<Tensor> {
        let side = self.vision_model.side();
        let planes = self.preprocess.batch(images, side);
        Ok(Tensor::from_vec(
            planes,
            (images.len(), 3, side, side),
            &self.device,
        )?)
    }

    /// Normalized embeddings of images prepared by [`Aesthetic::pixels`]: (B, C).
    ///
    /// # Errors
    /// The network fails.
    pub fn features(&self, pixels: &Tensor) -> Result<Tensor> {
        normalised(
            &self
                .vision_model
                .pooled(&self.vision_model.forward(pixels)?)?,
        )
    }
}

impl ScorerNetwork for Aesthetic {}

impl Scorer for Aesthetic {
    fn score(&self, _: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(images.len());
        for images in images.chunks(BATCH) {
            let features = self.features(&self.pixels(images)?)?;
            scores.extend(self.scoring_head.forward(&features)?);
        }
        Ok(scores)
    }

    fn flops(&self, images: usize) -> f64 {
        images as f64 * (self.vision_model.flops() + self.scoring_head.flops())
    }
}
