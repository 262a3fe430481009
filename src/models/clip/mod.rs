//! CLIP: pictures and texts as directions of one space, close where they fit (arXiv 2103.00020).
//!
//! Reference: Hugging Face `modeling_clip.py`, after whose files the fields are named; OpenCLIP
//! `model.py`.

use candle_core::{Device, Tensor};

use crate::{
    Result,
    nn::{Linear, Weights},
};

mod config;
mod names;
mod text;
mod vision;

pub use config::{Config, OpenClipConfig, TextConfig, VisionConfig};
pub use text::TextModel;
pub use vision::VisionModel;

use names::Layout;

/// The two networks and what brings them into one space. Its sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Reads.
    pub text_model: TextModel,
    /// Sees.
    pub vision_model: VisionModel,
    text_projection: Linear,
    visual_projection: Linear,
    device: Device,
}

impl Clip {
    /// Reads a file of Hugging Face or of OpenCLIP.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the others imply.
    pub fn load(w: &Weights, config: &Config) -> Result<Self> {
        let layout = Layout::of(w);
        let text_model = TextModel::load(&layout.text_model(w), layout, &config.text_config)?;
        let vision_model =
            VisionModel::load(&layout.vision_model(w), layout, &config.vision_config)?;
        let text_projection = layout.project_text(w, text_model.width())?;
        let visual_projection = layout.project_pictures(w, vision_model.width())?;
        if text_projection.outputs() != visual_projection.outputs() {
            let [text, picture] =
                [&text_projection, &visual_projection].map(|project| project.outputs().to_string());
            return Err(w.mismatch(
                "text_projection",
                format!("{picture} numbers, as of pictures"),
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

    /// Where the weights lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The direction of a text, (E), not normalised. `ids` begin with the start and end with the
    /// end, without padding.
    pub fn embed_text(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(self
            .text_projection
            .forward(&self.text_model.pooled(ids)?)?
            .squeeze(0)?)
    }

    /// The directions of pictures (B, 3, side, side), normalised with the mean and deviation of
    /// CLIP: (B, E), not normalised.
    pub fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        let pooled = self
            .vision_model
            .pooled(&self.vision_model.forward(pixels)?)?;
        Ok(self.visual_projection.forward(&pooled)?)
    }
}
