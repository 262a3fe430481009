//! The colour of a thing by CLIP.
//!
//! Reference: djghosh13/geneval at commit af4902f, `evaluation/evaluate_images.py`, lines 81-129
//! (`color_classification`), with clip_benchmark's
//! `zero_shot_classifier`: a colour is the mean embedding of three sentences, a thing has the
//! colour whose embedding is nearest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use candle_core::Tensor;
use ttsvar_search::{Image, PromptReader};

use super::{ColourNamer, Comparer};
use crate::{
    Result,
    features::clip::{ClipSpace, normalised},
    image::Preprocess,
    models::clip::Clip,
    nn::Linear,
    text::ClipTokenizer,
};

/// The colours, in the order of their numbers.
pub const COLOURS: [&str; 10] = [
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
];

/// The sentences that a thing is compared with, with placeholders for colour and class.
const SENTENCES: [&str; 3] = [
    "a photo of a {color} {classname}",
    "a photo of a {color}-colored {classname}",
    "a photo of a {color} object",
];

/// Crops that go through the network together.
const TOGETHER: usize = 16;

/// A CLIP that names colours and compares images with texts. Sentences about colours are
/// encoded once per class.
pub struct ClipColours {
    space: ClipSpace,
    colours: Vec<String>,
    sentences: Vec<String>,
    classifiers: Mutex<HashMap<String, Arc<Linear>>>,
}

impl ClipColours {
    /// Joins a CLIP, its tokenizer and its preprocessing.
    ///
    /// # Errors
    /// The tokenizer has more words than the weights.
    pub fn new(clip: Clip, tokenizer: ClipTokenizer, preprocess: Preprocess) -> Result<Self> {
        Ok(Self {
            space: ClipSpace::new(clip, tokenizer, preprocess)?,
            colours: COLOURS.map(str::to_owned).to_vec(),
            sentences: SENTENCES.map(str::to_owned).to_vec(),
            classifiers: Mutex::default(),
        })
    }

    /// The same for other colours, with other sentences, in which `{color}` and
    /// `{classname}` stand for the words.
    pub fn with_vocabulary(self, colours: Vec<String>, sentences: Vec<String>) -> Self {
        Self {
            colours,
            sentences,
            classifiers: Mutex::default(),
            ..self
        }
    }

    /// The embeddings of the colours for a class: (colours, E).
    ///
    /// # Errors
    /// A sentence cannot be read.
    pub fn colour_embeddings(&self, class: &str) -> Result<Tensor> {
        let colour = |colour: &String| {
            let filled = |sentence: &String| {
                sentence
                    .replace("{color}", colour)
                    .replace("{classname}", class)
            };
            let embeddings = self
                .sentences
                .iter()
                .map(|sentence| self.space.embed_text(&filled(sentence)));
            normalised(&Tensor::cat(&embeddings.collect::<Result<Vec<_>>>()?, 0)?.mean_keepdim(0)?)
        };
        Ok(Tensor::cat(
            &self
                .colours
                .iter()
                .map(colour)
                .collect::<Result<Vec<_>>>()?,
            0,
        )?)
    }

    /// The network's input for these crops: (B, 3, side, side).
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn pixels(&self, crops: &[Image]) -> Result<Tensor> {
        self.space.pixels(crops)
    }

    /// The match of each colour with each crop of a thing: (B, colours), 100 times the cosine.
    ///
    /// # Errors
    /// The network fails.
    pub fn logits(&self, class: &str, pixels: &Tensor) -> Result<Tensor> {
        Ok((self
            .classifier(class)?
            .forward(&self.space.embed_pixels(pixels)?)?
            * 100.0)?)
    }

    fn classifier(&self, class: &str) -> Result<Arc<Linear>> {
        let known = || {
            self.classifiers
                .lock()
                .unwrap_or_else(|lock| lock.into_inner())
        };
        if let Some(classifier) = known().get(class) {
            return Ok(classifier.clone());
        }
        let classifier = Arc::new(Linear::new(self.colour_embeddings(class)?, None)?);
        known().insert(class.to_owned(), classifier.clone());
        Ok(classifier)
    }
}

impl ColourNamer for ClipColours {
    fn colours(&self, class: &str, crops: &[Image]) -> Result<Vec<usize>> {
        let mut colours = Vec::with_capacity(crops.len());
        for crops in crops.chunks(TOGETHER) {
            let logits: Vec<Vec<f32>> = self.logits(class, &self.pixels(crops)?)?.to_vec2()?;
            colours.extend(logits.iter().map(|row| best(row)));
        }
        Ok(colours)
    }
}

/// CLIP-Score as T2I-CompBench has it: the cosine itself.
impl Comparer for ClipColours {
    fn cosines(&self, text: &str, images: &[Image]) -> Result<Vec<f32>> {
        self.space.cosines(text, images)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(self.space.prompt_reader("the evaluator's CLIP"))
    }
}

/// The first of the largest.
fn best(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}
