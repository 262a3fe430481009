//! Pictures and texts as directions in the space of a CLIP.

use std::sync::Mutex;

use candle_core::{DType, Tensor};
use ttsvar_search::Image;

use crate::{
    Error, Result, image::Preprocess, models::clip::Clip, nn::Linear, text::ClipTokenizer,
};

/// Images that go through the network together, which bounds the memory.
const TOGETHER: usize = 16;

/// A CLIP with what prepares its texts and pictures. Directions have length 1.
pub struct ClipSpace {
    clip: Clip,
    tokenizer: ClipTokenizer,
    preprocess: Preprocess,
    /// The text that was read last: a search asks for the same one at every stage.
    last: Mutex<Option<(String, Tensor)>>,
}

impl ClipSpace {
    /// # Errors
    /// The tokenizer has more words than the weights.
    pub fn new(clip: Clip, tokenizer: ClipTokenizer, preprocess: Preprocess) -> Result<Self> {
        let has = tokenizer.size();
        let knows = clip.text_model.words();
        if has > knows {
            return Err(Error::input(format!(
                "the tokenizer has {has} words, the weights of CLIP {knows}"
            ))
            .with_hint("tokenizer and weights must belong together"));
        }
        Ok(Self {
            clip,
            tokenizer,
            preprocess,
            last: Mutex::default(),
        })
    }

    /// The direction of a text: (1, E).
    ///
    /// # Errors
    /// The text cannot be split.
    pub fn text(&self, text: &str) -> Result<Tensor> {
        let last = || self.last.lock().unwrap_or_else(|lock| lock.into_inner());
        if let Some((_, direction)) = last().as_ref().filter(|(known, _)| known == text) {
            return Ok(direction.clone());
        }
        let direction = normalised(
            &self
                .clip
                .embed_text(&self.tokenizer.encode(text)?)?
                .unsqueeze(0)?,
        )?;
        *last() = Some((text.to_owned(), direction.clone()));
        Ok(direction)
    }

    /// What the network reads of some pictures: (B, 3, side, side).
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn pixels(&self, images: &[Image]) -> Result<Tensor> {
        let side = self.clip.vision_model.side();
        let planes = self.preprocess.batch(images, side);
        Ok(Tensor::from_vec(
            planes,
            (images.len(), 3, side, side),
            self.clip.device(),
        )?)
    }

    /// The directions of pictures that were prepared by [`ClipSpace::pixels`]: (B, E).
    ///
    /// # Errors
    /// The network fails.
    pub fn seen(&self, pixels: &Tensor) -> Result<Tensor> {
        normalised(&self.clip.embed_images(pixels)?)
    }

    /// The cosine between a text and each of some pictures.
    ///
    /// # Errors
    /// The text cannot be split, or the network fails.
    pub fn cosines(&self, text: &str, images: &[Image]) -> Result<Vec<f32>> {
        let direction = Linear::new(self.text(text)?, None)?;
        let mut cosines = Vec::with_capacity(images.len());
        for images in images.chunks(TOGETHER) {
            let found = direction.forward(&self.seen(&self.pixels(images)?)?)?; // (B, 1)
            cosines.extend(
                found
                    .flatten_all()?
                    .to_dtype(DType::F32)?
                    .to_vec1::<f32>()?,
            );
        }
        Ok(cosines)
    }

    /// Floating-point operations for the pictures; the text, which is read once, is not counted.
    pub fn flops(&self, images: usize) -> f64 {
        images as f64 * self.clip.vision_model.flops()
    }
}

/// Rows of length 1.
pub fn normalised(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)?)
}
