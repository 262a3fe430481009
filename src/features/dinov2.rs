//! Patch features of a DINOv2, reduced to one row of numbers per image.
//!
//! Reference: ali-vilab/TTS-VAR at commit b0332bb, `tts-var/utils_model.py`, lines 483-575
//! (`extract_k_ids`): the image is resized to 224
//! x 224 regardless of its aspect, then passed to `dinov2_vitl14_reg`.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use ttsvar_search::{Extractor, Image, Matrix};

use super::{PatchReduction, Patches, reduce};
use crate::{
    Result,
    image::{Filter, PreprocessorConfig, Resize},
    models::dinov2::Dinov2,
    nn::check_finite,
};

/// Images that go through the network together, which bounds the memory.
const TOGETHER: usize = 16;

/// The extractor of one kind of features. Several kinds may share a model.
#[derive(Clone, Debug)]
pub struct Dinov2Features {
    model: Arc<Dinov2>,
    reduction: PatchReduction,
    size: [usize; 2],
    device: Device,
}

impl Dinov2Features {
    /// Mean of each channel over ImageNet.
    pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];

    /// Standard deviation of each channel over ImageNet.
    pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// The size, [height, width], to which the original brings every image.
    pub const SIZE: [usize; 2] = [224, 224];

    /// Checks the text of a `preprocessor_config.json` beside the weights. Size and filter are those
    /// of the paper, whatever it says.
    ///
    /// # Errors
    /// It is damaged, or asks for another normalisation.
    pub fn check_preprocessor(origin: &Path, json: &str) -> Result<()> {
        PreprocessorConfig::read(origin, json)?.require_normalization(Self::MEAN, Self::STD)
    }

    /// Features reduced in this way, read from images brought to `size`, [height, width].
    ///
    /// # Errors
    /// A side of `size` is not a multiple of the model's patch.
    pub fn new(model: Arc<Dinov2>, reduction: PatchReduction, size: [usize; 2]) -> Result<Self> {
        model.grid(size[0], size[1])?;
        let device = model.device().clone();
        Ok(Self {
            model,
            reduction,
            size,
            device,
        })
    }

    /// The features of each patch: (images, patches, C).
    pub fn patches(&self, images: &[Image]) -> Result<Patches> {
        let (rows, columns) = self.model.grid(self.size[0], self.size[1])?;
        let patches = rows * columns;
        let width = self.model.width();
        let mut data = Vec::with_capacity(images.len() * patches * width);
        for images in images.chunks(TOGETHER) {
            let tokens = self.model.forward(&self.pixels(images)?)?.patches; // (B, L, C)
            check_finite("the DINOv2 features", &tokens)?;
            data.extend(
                tokens
                    .flatten_all()?
                    .to_dtype(DType::F32)?
                    .to_vec1::<f32>()?,
            );
        }
        Ok(Patches::new(images.len(), patches, width, data))
    }

    /// The model's input for these images: (B, 3, height, width).
    fn pixels(&self, images: &[Image]) -> Result<Tensor> {
        let [height, width] = self.size;
        let planes = images.par_iter().map(|image| {
            let image = image.resize(width, height, Filter::Bilinear);
            image.to_chw(Self::MEAN, Self::STD)
        });
        let planes: Vec<_> = planes.collect();
        Ok(Tensor::from_vec(
            planes.concat(),
            (images.len(), 3, height, width),
            &self.device,
        )?)
    }
}

impl Extractor for Dinov2Features {
    fn extract(&self, images: &[Image]) -> ttsvar_search::Result<Matrix> {
        Ok(reduce(self.reduction, &self.patches(images)?))
    }

    /// Operations of the network; the reduction needs less than a thousandth of them.
    fn flops(&self, images: usize) -> f64 {
        images as f64 * self.model.flops(self.size[0], self.size[1])
    }
}
