//! ImageReward: human preference for an image of a prompt, learned from comparisons (arXiv
//! 2304.05977).
//!
//! Reference: THUDM/ImageReward, `ImageReward/ImageReward.py`. BLIP encodes the prompt with
//! cross-attention to the image; five linear layers turn its output at `[CLS]` into a score whose
//! distribution is about standard normal.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use ttsvar_search::{Image, PromptReader, Scorer};

use super::{ScorerKind, ScorerNetwork, ScorerSettings, head::Head, kind::unchanged};
use crate::{
    Error, Result,
    hub::{
        BuiltIn, ScorerFiles, ScorerRelease,
        released::{DEMO_REWARD, IMAGE_REWARD},
    },
    image::Preprocess,
    loading::{Loaded, Loader},
    models::blip::{Prompt, TextConfig, TextEncoder, VisualEncoder},
    nn::{Signature, Weights},
    text::WordPieceTokenizer,
};

/// ImageReward by name.
pub static KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        built_in: BuiltIn::Never,
        published: true,
        ..release(IMAGE_REWARD)
    },
    variants: &[(IMAGE_REWARD, unchanged)],
    reads_prompt: true,
    answers: false,
    standardised: true,
    load,
};

/// The demo's scorer: the same network with weights of this project, for flat shapes only. It has a
/// name of its own, so its numbers cannot be taken for those of the released ImageReward.
pub static DEMO_KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        built_in: BuiltIn::Never,
        published: false,
        ..release(DEMO_REWARD)
    },
    variants: &[(DEMO_REWARD, unchanged)],
    reads_prompt: true,
    answers: false,
    standardised: true,
    load,
};

/// The files of a scorer with ImageReward's network.
const fn release(family: &'static str) -> ScorerRelease {
    ScorerRelease {
        family,
        built_in: BuiltIn::Never,
        published: true,
        weights: family,
        other_weights: None,
        vocabulary: Some("bert-base-uncased"),
        encoder: None,
        heads: true,
        signature: &Signature {
            layouts: &[&["blip.visual_encoder.cls_token", "mlp.layers.0.weight"]],
        },
        encoder_signature: None,
        config: Some(("med_config.json", MED_CONFIG)),
    }
}

/// `med_config.json` as published with ImageReward, for folders that hold only the weights.
const MED_CONFIG: &str = r#"{"hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12,
    "num_hidden_layers": 12, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30524,
    "encoder_width": 768, "add_cross_attention": true}"#;

fn load(
    files: &ScorerFiles,
    loader: &Loader,
    _: &ScorerSettings,
) -> Result<Loaded<Box<dyn ScorerNetwork>>> {
    let config = files.config()?.json()?;
    let heads = files.scorer().heads;
    let tokenizer = WordPieceTokenizer::open(&files.vocabulary()?)?;
    let unused = ["blip.vision_proj.", "blip.text_proj."];
    loader.load(files.weights()?, "", &unused, |weights| {
        let scorer = ImageReward::load(weights, &config, heads, tokenizer)?;
        let name = format!("the scorer {}", files.scorer().family);
        Ok(Box::new(ImageReward { name, ..scorer }) as _)
    })
}

/// Mean of the last layer over the authors' data.
const REWARD_MEAN: f32 = 0.167_173_63;
/// Standard deviation of the last layer over the authors' data.
const REWARD_STD: f32 = 1.033_339_5;

/// The original cuts prompts to 35 tokens, `[CLS]` and `[SEP]` included.
const MAX_TOKENS: usize = 35;

/// Indices of the linear layers in the original's list. Between the first four is Dropout; there
/// are no activations.
const LAYERS: [usize; 5] = [0, 2, 4, 6, 7];

/// Images that run through the network together, which bounds memory.
const BATCH: usize = 16;

/// The scorer.
pub struct ImageReward {
    /// Its name in warnings.
    name: String,
    tokenizer: Arc<WordPieceTokenizer>,
    visual_encoder: VisualEncoder,
    text_encoder: TextEncoder,
    layers: Head,
    device: Device,
}

impl ImageReward {
    /// Loads the weights of `ImageReward.pt`. `text` is the content of `med_config.json`;
    /// `vision_heads` may be `None` for the released widths, 768 and 1024.
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
        let text_encoder =
            TextEncoder::load(&w.pp("blip.text_encoder"), text, visual_encoder.width())?;
        if tokenizer.size() > text_encoder.words() {
            let found = tokenizer.size();
            let expected = text_encoder.words();
            return Err(Error::input(format!(
                "the tokenizer has {found} tokens, but the weights of ImageReward have {expected}"
            ))
            .with_hint(
                "use the vocabulary that the weights were trained with: \
                 bert-base-uncased for the released weights",
            ));
        }
        let layers = Head::load(&w.pp("mlp.layers"), &LAYERS, text_encoder.width())?;
        Ok(Self {
            name: format!("the scorer {IMAGE_REWARD}"),
            tokenizer: Arc::new(tokenizer),
            visual_encoder,
            text_encoder,
            layers,
            device: w.device().clone(),
        })
    }

    /// The vision transformer's input for some images: (B, 3, side, side).
    pub fn pixels(&self, images: &[Image]) -> Result<Tensor> {
        let side = self.visual_encoder.side();
        let planes = Preprocess::CLIP.batch(images, side);
        Ok(Tensor::from_vec(
            planes,
            (images.len(), 3, side, side),
            &self.device,
        )?)
    }

    /// The number of tokens at which prompts are cut.
    fn most_tokens(&self) -> usize {
        MAX_TOKENS.min(self.text_encoder.positions())
    }

    /// Encodes a prompt without padding, which has no influence since it is masked.
    pub fn prompt(&self, prompt: &str) -> Result<Prompt> {
        let padded = self.tokenizer.encode(prompt, self.most_tokens())?;
        let tokens = padded.mask.iter().take_while(|&&m| m != 0).count();
        self.text_encoder
            .prompt(&padded.ids[..tokens], &padded.mask[..tokens])
    }

    /// BLIP's output at `[CLS]` for each image: (B, W).
    pub fn features(&self, prompt: &Prompt, pixels: &Tensor) -> Result<Tensor> {
        self.text_features(prompt, &self.visual_encoder.forward(pixels)?)
    }

    /// The same from the output of a vision encoder: (B, T, vision width) -> (B, W).
    fn text_features(&self, prompt: &Prompt, image_embeds: &Tensor) -> Result<Tensor> {
        let hidden = self.text_encoder.forward(prompt, image_embeds)?; // (B, L, W)
        Ok(hidden.narrow(1, 0, 1)?.squeeze(1)?)
    }

    /// Scores for the output of a vision encoder, (B, T, vision width), its own or one that was
    /// trained to give similar tokens.
    ///
    /// # Errors
    /// The tokens have another width, or the prompt cannot be encoded.
    pub fn score_tokens(&self, prompt: &str, image_embeds: &Tensor) -> Result<Vec<f32>> {
        self.rewards(&self.text_features(&self.prompt(prompt)?, image_embeds)?)
    }

    /// Numbers per token of the vision encoder.
    pub fn vision_width(&self) -> usize {
        self.visual_encoder.width()
    }

    /// Floating-point operations to score `tokens` tokens of a vision encoder, for a prompt of full
    /// length.
    pub fn token_flops(&self, tokens: usize) -> f64 {
        self.text_encoder.flops(MAX_TOKENS, tokens) + self.layers.flops()
    }

    /// Features (B, W) -> B scores.
    pub fn rewards(&self, features: &Tensor) -> Result<Vec<f32>> {
        let raw = self.layers.forward(features)?;
        Ok(raw
            .into_iter()
            .map(|reward| (reward - REWARD_MEAN) / REWARD_STD)
            .collect())
    }
}

impl ScorerNetwork for ImageReward {
    fn image_reward(&self) -> Option<&ImageReward> {
        Some(self)
    }
}

impl Scorer for ImageReward {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let prompt = self.prompt(prompt)?;
        let mut scores = Vec::with_capacity(images.len());
        for images in images.chunks(BATCH) {
            let features = self.features(&prompt, &self.pixels(images)?)?;
            scores.extend(self.rewards(&features)?);
        }
        Ok(scores)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        let limit = self.most_tokens();
        Some(self.tokenizer.prompt_reader(&self.name, limit))
    }

    /// For a prompt of full length.
    fn flops(&self, images: usize) -> f64 {
        let text = self.token_flops(self.visual_encoder.tokens());
        images as f64 * (self.visual_encoder.flops() + text)
    }
}
