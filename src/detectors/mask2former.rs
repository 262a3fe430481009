//! Mask2Former as a detector, with images prepared as mmdetection prepares them.
//!
//! Reference: mmdetection 2.28, `configs/_base_/datasets/coco_instance.py` and the test pipeline of
//! `mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.py`.

use candle_core::Tensor;
use ttsvar_search::Image;

use super::{
    Detector, Object,
    instances::{Geometry, MOST, instances},
};
use crate::{
    Error, Result,
    image::Resize,
    models::mask2former::{Mask2Former, STRIDE},
};

/// Sides that images are fitted into: the longer and the shorter.
const FIT: (usize, usize) = (1333, 800);

/// The colour of the border.
const GREY: u8 = 128;

/// Mean and standard deviation of ImageNet.
pub(super) const MEAN: [f32; 3] = [123.675 / 255.0, 116.28 / 255.0, 103.53 / 255.0];
pub(super) const STD: [f32; 3] = [58.395 / 255.0, 57.12 / 255.0, 57.375 / 255.0];

/// Images whose features are in memory at once.
const TOGETHER: usize = 4;

/// A loaded detector.
pub struct Mask2FormerDetector {
    model: Mask2Former,
    fit: (usize, usize),
}

impl Mask2FormerDetector {
    /// A detector that fits images into 1333 x 800 pixels, as released.
    pub fn new(model: Mask2Former) -> Self {
        Self { model, fit: FIT }
    }

    /// The same with another size: its longer and its shorter side.
    pub fn fitting(self, longer: usize, shorter: usize) -> Self {
        Self {
            fit: (longer, shorter),
            ..self
        }
    }

    /// Number of classes that it knows.
    pub fn classes(&self) -> usize {
        self.model.decoder.classes()
    }

    /// The objects of images that have one geometry; `pixels` is (B, 3, H, W).
    ///
    /// # Errors
    /// The network fails.
    pub fn detect_pixels(&self, pixels: &Tensor, size: Geometry) -> Result<Vec<Vec<Object>>> {
        let found = self
            .model
            .forward(&pixels.to_device(self.model.device())?)?;
        let objects_of_image = |i: usize| {
            instances(
                &found.class_logits.get(i)?,
                &found.mask_logits.get(i)?,
                size,
                MOST,
            )
        };
        (0..pixels.dim(0)?).map(objects_of_image).collect()
    }

    /// Resizes an image so that it fits, keeping its aspect.
    fn fit(&self, image: &Image) -> Image {
        let width = image.width() as f64;
        let height = image.height() as f64;
        let longer = self.fit.0 as f64;
        let shorter = self.fit.1 as f64;
        let scale = (longer / width.max(height)).min(shorter / width.min(height));
        let side = |length: f64| ((length * scale + 0.5) as usize).max(1);
        image.resize_like_opencv(side(width), side(height))
    }
}

/// A resized image as the network reads it: with a grey border to the right and below that makes
/// its sides multiples of 32, normalised. (1, 3, H, W), and (H, W).
///
/// # Errors
/// The tensor library fails.
pub fn framed(resized: &Image) -> Result<(Tensor, (usize, usize))> {
    let width = resized.width().next_multiple_of(STRIDE);
    let height = resized.height().next_multiple_of(STRIDE);
    let mut pixels = vec![GREY; 3 * width * height];
    let rows = pixels
        .chunks_exact_mut(3 * width)
        .zip(resized.pixels().chunks_exact(3 * resized.width()));
    rows.for_each(|(to, from)| to[..from.len()].copy_from_slice(from));
    let planes = Image::new(width, height, pixels).to_chw(MEAN, STD);
    Ok((
        Tensor::from_vec(planes, (1, 3, height, width), &candle_core::Device::Cpu)?,
        (height, width),
    ))
}

impl Detector for Mask2FormerDetector {
    fn detect(&self, images: &[Image]) -> Result<Vec<Vec<Object>>> {
        if images
            .iter()
            .any(|image| image.width() == 0 || image.height() == 0)
        {
            return Err(Error::input("an image without pixels"));
        }
        let mut found = Vec::with_capacity(images.len());
        let size_of = |image: &Image| (image.width(), image.height());
        for same in images
            .chunk_by(|a, b| size_of(a) == size_of(b))
            .flat_map(|same| same.chunks(TOGETHER))
        {
            let resized: Vec<Image> = same.iter().map(|image| self.fit(image)).collect();
            let framed = resized.iter().map(framed).collect::<Result<Vec<_>>>()?;
            let size = Geometry {
                original: (same[0].height(), same[0].width()),
                valid: (resized[0].height(), resized[0].width()),
                padded: framed[0].1,
            };
            let pixels: Vec<Tensor> = framed.into_iter().map(|(pixels, _)| pixels).collect();
            found.extend(self.detect_pixels(&Tensor::cat(&pixels, 0)?, size)?);
        }
        Ok(found)
    }
}
