//! CLIP: embeddings of images and texts in one space, close where they match (arXiv 2103.00020).
//!
//! Reference: huggingface/transformers at v4.49.0, `src/transformers/models/clip/modeling_clip.py`,
//! lines 177-403 and 570-634 (embeddings, blocks), 905-1008 (text), 1066-1128 (vision), 1187-1427
//! (`CLIPModel`); the fields are named as in its files. For OpenCLIP's files:
//! mlfoundations/open_clip at commit 89fb801, `src/open_clip/model.py`, lines 38-150
//! (configurations) and 318-550 (`CLIP`).

use candle_core::{Device, Tensor};

use crate::{
    Result,
    nn::{Linear, Signature, Weights},
};

mod config;
mod names;
mod text;
mod vision;

pub use config::{Config, OpenClipConfig, TextConfig, VisionConfig};
pub use text::{TextModel, TextSizes};
pub use vision::VisionModel;

use names::Layout;

/// The two encoders and their projections into one space. Sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The text encoder.
    pub text_model: TextModel,
    /// The vision encoder.
    pub vision_model: VisionModel,
    text_projection: Linear,
    visual_projection: Linear,
    device: Device,
}

impl Clip {
    /// Tensors of every checkpoint, of Hugging Face and of OpenCLIP.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[
            &["text_projection.weight", "visual_projection.weight"],
            &["text_projection", "visual.proj"],
        ],
    };

    /// Loads a file of Hugging Face or of OpenCLIP.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the others imply.
    pub fn load(w: &Weights, config: &Config) -> Result<Self> {
        let layout = Layout::detect(w);
        let text_model = TextModel::load(&layout.text_model(w), layout, &config.text_config)?;
        let vision_model =
            VisionModel::load(&layout.vision_model(w), layout, &config.vision_config)?;
        let text_projection = layout.project_text(w, text_model.width())?;
        let visual_projection = layout.project_images(w, vision_model.width())?;
        if text_projection.outputs() != visual_projection.outputs() {
            let [text, image] =
                [&text_projection, &visual_projection].map(|project| project.outputs().to_string());
            return Err(w.mismatch(
                "text_projection",
                format!("{image} numbers, as for images"),
                text,
            ));
        }
        let device = w.device().clone();
        Ok(Self {
            text_model,
            vision_model,
            text_projection,
            visual_projection,
            device,
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The embedding of a text, (E), not normalised. `ids` begin with the start token and end with
    /// the end token, without padding.
    pub fn embed_text(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(self
            .text_projection
            .forward(&self.text_model.pooled(ids)?)?
            .squeeze(0)?)
    }

    /// The embeddings of images (B, 3, side, side), normalised with the mean and standard deviation
    /// of CLIP: (B, E), not normalised.
    pub fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        let pooled = self
            .vision_model
            .pooled(&self.vision_model.forward(pixels)?)?;
        Ok(self.visual_projection.forward(&pooled)?)
    }
}
