//! A released system without its weights, for plans: the generator's sizes are in `pipelines`, those
//! of ImageReward and DINOv2 here.

use std::sync::Arc;

use ttsvar_search::Workload;

use super::family;
use crate::{
    Result,
    hub::Description,
    loading::Dtype,
    options::Options,
    pipelines::{Outline, OutlineContext},
};

/// A vision transformer (B/L/H as in arXiv 2010.11929).
struct Vit {
    width: usize,
    blocks: usize,
    /// Pixels along one side of a patch.
    patch: usize,
    /// Tokens besides the patches.
    extra: usize,
}

/// Pixels along one side of the images that both networks read.
const SIDE: usize = 224;

/// The visual encoder of ImageReward (BLIP's ViT-L/16).
const BLIP: Vit = Vit {
    width: 1024,
    blocks: 24,
    patch: 16,
    extra: 1,
};

/// DINOv2 ViT-L/14 with four registers.
const DINOV2: Vit = Vit {
    width: 1024,
    blocks: 24,
    patch: 14,
    extra: 5,
};

/// Channels of the hidden states of Infinity-2B.
const HIDDEN_CHANNELS: usize = 2048;

/// Channels of the latents of Infinity-2B.
const LATENT_CHANNELS: usize = 32;

/// The text encoder of ImageReward (BERT base with attention to the image): width, layers, tokens of
/// a prompt, words.
const BERT: (usize, usize, usize, usize) = (768, 12, 35, 30524);

/// A released system, set up by options.
#[derive(Clone)]
pub struct ReleasedOutline {
    /// The generator.
    pub generator: Arc<dyn Outline>,
    dtype: Dtype,
    text_dtype: Dtype,
    rows_at_once: Option<usize>,
}

impl ReleasedOutline {
    /// The outline of a released description with options that its family completed.
    ///
    /// # Errors
    /// The model does not support an option.
    pub fn new(description: &Description, options: &Options, dtype: Dtype) -> Result<Self> {
        let family = family(description.generator.family);
        Ok(Self {
            generator: family.outline(description, options, dtype)?.into(),
            dtype,
            text_dtype: dtype,
            rows_at_once: None,
        })
    }

    /// The same with the text encoder's matrices in this type.
    pub fn with_text_dtype(self, text_dtype: Dtype) -> Self {
        Self { text_dtype, ..self }
    }

    /// The same with at most `rows` rows at once in the network.
    pub fn with_rows_at_once(&self, rows: usize) -> Self {
        Self {
            rows_at_once: Some(rows),
            ..self.clone()
        }
    }

    /// Operations of ImageReward for some images.
    pub fn scorer_flops(&self, images: usize) -> f64 {
        images as f64 * (BLIP.flops() + bert_flops())
    }

    /// Operations of DINOv2 for some images.
    pub fn feature_flops(&self, images: usize) -> f64 {
        images as f64 * DINOV2.flops()
    }

    /// Operations of a latent verifier for some candidates. None is published for these models, so
    /// this is an estimate: latent and hidden state as 14 x 14 patches, the last two blocks of
    /// ImageReward's visual encoder, and its text encoder.
    pub fn verifier_flops(&self, candidates: usize) -> f64 {
        const BLOCKS: usize = 2;
        let tokens = BLIP.patches() + BLIP.extra;
        let channels = LATENT_CHANNELS + HIDDEN_CHANNELS;
        let embed = 2 * BLIP.patches() * channels * BLIP.width;
        let blocks = BLOCKS * BLIP.block_flops(tokens);
        candidates as f64 * ((embed + blocks) as f64 + bert_flops())
    }

    /// Operations and the peak of memory of the generator. `evicted` counts the measures against
    /// a limit of memory: none, the text encoder, all networks that are not always needed.
    pub fn estimate(&self, workload: &Workload, evicted: usize) -> ttsvar_search::Estimate {
        let bytes = |values| self.dtype.bytes(values);
        let scorer = bytes(BLIP.values() + bert_values());
        let features = bytes(DINOV2.values());
        let stay = evicted < 2;
        let context = OutlineContext {
            rows_at_once: self.rows_at_once,
            evict_text: evicted > 0,
            text_dtype: self.text_dtype,
            resident: if stay { scorer + features } else { 0 },
            scoring: if stay { 0 } else { scorer.max(features) },
        };
        self.generator.estimate(workload, context)
    }
}

impl Vit {
    fn patches(&self) -> usize {
        (SIDE / self.patch) * (SIDE / self.patch)
    }

    /// Parameters of the matrices.
    fn values(&self) -> usize {
        12 * self.blocks * self.width * self.width + 3 * self.patch * self.patch * self.width
    }

    fn flops(&self) -> f64 {
        let tokens = self.patches() + self.extra;
        let embed = 2 * self.patches() * 3 * self.patch * self.patch * self.width;
        (self.blocks * self.block_flops(tokens) + embed) as f64
    }

    fn block_flops(&self, tokens: usize) -> usize {
        2 * tokens * 12 * self.width * self.width + 4 * tokens * tokens * self.width
    }
}

fn bert_values() -> usize {
    let (width, layers, _, words) = BERT;
    // Attention to the prompt and to the image, feed-forward; the words.
    layers * (14 * width * width + 2 * width * BLIP.width) + words * width
}

fn bert_flops() -> f64 {
    let (width, layers, tokens, _) = BERT;
    let context = BLIP.patches() + BLIP.extra;
    let own = 2 * tokens * 4 * width * width + 4 * tokens * tokens * width;
    let image = 2 * tokens * 2 * width * width
        + 2 * context * 2 * BLIP.width * width
        + 4 * tokens * context * width;
    let feed_forward = 2 * tokens * 8 * width * width;
    (layers * (own + image + feed_forward)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_were_published() {
        let millions = |values: usize| values as f64 / 1e6;
        assert!((millions(BLIP.values()) / 304.0 - 1.0).abs() < 0.01);
        assert!((millions(DINOV2.values()) / 304.0 - 1.0).abs() < 0.01);
        // ViT-L/16 at 224 pixels: 61.6 billion multiply-adds.
        assert!(
            (BLIP.flops() / 123.2e9 - 1.0).abs() < 0.02,
            "{}",
            BLIP.flops()
        );
    }
}
