//! Images and texts as embeddings of a CLIP.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Tensor};
use ttsvar_search::{Image, PromptReader};

use crate::{
    Error, Result, image::Preprocess, models::clip::Clip, nn::Linear, text::ClipTokenizer,
};

/// Images that go through the network together, which bounds the memory.
const TOGETHER: usize = 16;

/// A CLIP with its tokenizer and preprocessing. Embeddings have length 1.
pub struct ClipSpace {
    clip: Clip,
    tokenizer: Arc<ClipTokenizer>,
    preprocess: Preprocess,
    /// The last text with its embedding: a search needs the same text at every stage.
    last: Mutex<Option<(String, Tensor)>>,
}

impl ClipSpace {
    /// Joins a CLIP, its tokenizer and its preprocessing.
    ///
    /// # Errors
    /// The tokenizer has more words than the weights.
    pub fn new(clip: Clip, tokenizer: ClipTokenizer, preprocess: Preprocess) -> Result<Self> {
        let has = tokenizer.size();
        let knows = clip.text_model.words();
        if has > knows {
            return Err(Error::input(format!(
                "the tokenizer has {has} tokens, but the weights of CLIP have {knows}"
            ))
            .with_hint("use the tokenizer that the weights were trained with"));
        }
        Ok(Self {
            clip,
            tokenizer: Arc::new(tokenizer),
            preprocess,
            last: Mutex::default(),
        })
    }

    /// The reader of texts for warnings, under the name of what it serves.
    pub fn prompt_reader(&self, name: &str) -> Arc<dyn PromptReader> {
        self.tokenizer.prompt_reader(name)
    }

    /// The embedding of a text: (1, E).
    ///
    /// # Errors
    /// The text cannot be split.
    pub fn embed_text(&self, text: &str) -> Result<Tensor> {
        let last = || self.last.lock().unwrap_or_else(|lock| lock.into_inner());
        if let Some((_, embedding)) = last().as_ref().filter(|(known, _)| known == text) {
            return Ok(embedding.clone());
        }
        let embedding = normalised(
            &self
                .clip
                .embed_text(&self.tokenizer.encode(text)?)?
                .unsqueeze(0)?,
        )?;
        *last() = Some((text.to_owned(), embedding.clone()));
        Ok(embedding)
    }

    /// The network's input for these images: (B, 3, side, side).
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

    /// The embeddings of images that were prepared by [`ClipSpace::pixels`]: (B, E).
    ///
    /// # Errors
    /// The network fails.
    pub fn embed_pixels(&self, pixels: &Tensor) -> Result<Tensor> {
        normalised(&self.clip.embed_images(pixels)?)
    }

    /// The cosine between a text and each image.
    ///
    /// # Errors
    /// The text cannot be split, or the network fails.
    pub fn cosines(&self, text: &str, images: &[Image]) -> Result<Vec<f32>> {
        let embedding = Linear::new(self.embed_text(text)?, None)?;
        let mut cosines = Vec::with_capacity(images.len());
        for images in images.chunks(TOGETHER) {
            let found = embedding.forward(&self.embed_pixels(&self.pixels(images)?)?)?; // (B, 1)
            cosines.extend(
                found
                    .flatten_all()?
                    .to_dtype(DType::F32)?
                    .to_vec1::<f32>()?,
            );
        }
        Ok(cosines)
    }

    /// Floating-point operations for the images; the text, which is encoded once, is not counted.
    pub fn flops(&self, images: usize) -> f64 {
        images as f64 * self.clip.vision_model.flops()
    }
}

/// Rows of length 1.
pub fn normalised(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)?)
}
