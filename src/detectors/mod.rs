//! Detectors: the objects of an image, their places, colours and answers to questions about them.
//! Evaluations use them, and the scorer `relation`.

use std::sync::Arc;

use ttsvar_search::{Image, PromptReader};

use crate::{Result, image::Mask};

pub mod blip_vqa;
pub mod colours;
pub mod instances;
pub mod mask2former;
pub mod open;

pub use blip_vqa::BlipAnswers;
pub use colours::ClipColours;
pub use mask2former::Mask2FormerDetector;

/// Something that was found in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Number of its class.
    pub class: usize,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Left, top, right, bottom in pixels; right and bottom are outside.
    pub bounds: [f32; 4],
    /// The pixels that it covers, of the size of the image.
    pub mask: Option<Mask>,
}

/// Finds objects.
pub trait Detector: Send + Sync {
    /// The objects of each image, the most certain first.
    ///
    /// # Errors
    /// An image cannot be read, or the network fails.
    fn detect(&self, images: &[Image]) -> Result<Vec<Vec<Object>>>;
}

/// Names the colour of things.
pub trait ColourNamer: Send + Sync {
    /// Returns the number of the best matching colour for each image of a thing called `class`.
    ///
    /// # Errors
    /// The network fails.
    fn colours(&self, class: &str, crops: &[Image]) -> Result<Vec<usize>>;
}

/// Answers questions about images.
pub trait Answerer: Send + Sync {
    /// For each image the answers to its own questions, `questions[i]` about `images[i]`: 1 is
    /// yes, 0 is no.
    ///
    /// # Errors
    /// The network fails.
    fn yes(&self, images: &[Image], questions: &[Vec<String>]) -> Result<Vec<Vec<f32>>>;
}

/// Compares images with texts.
pub trait Comparer: Send + Sync {
    /// The cosine between a text and each of some images.
    ///
    /// # Errors
    /// The network fails.
    fn cosines(&self, text: &str, images: &[Image]) -> Result<Vec<f32>>;

    /// The part of it that reads texts, if it does not read long ones to their end.
    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        None
    }
}
