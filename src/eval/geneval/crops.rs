//! Crops for the colour classifier: the box of an object, with everything but the object filled
//! with grey.
//!
//! Reference: `ImageCrops` in GenEval's `evaluate_images.py`.

use ttsvar_search::Image;

use crate::{detectors::Object, image::Mask};

/// `#999`, the background of an object.
const GREY: [u8; 3] = [0x99; 3];

/// Options for cropping objects; [`CropOptions::default`] is as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropOptions {
    /// Background of an object inside its box; `None` keeps the image.
    pub background: Option<[u8; 3]>,
    /// Whether to crop the image to the box.
    pub to_box: bool,
}

impl Default for CropOptions {
    fn default() -> Self {
        Self {
            background: Some(GREY),
            to_box: true,
        }
    }
}

impl CropOptions {
    /// Crops an object from an image. Parts of its box outside of the image are black; a box
    /// without pixels becomes one black pixel.
    ///
    /// # Panics
    /// If the object's mask has another size than the image.
    pub fn crop(&self, image: &Image, object: &Object) -> Image {
        match (&object.mask, self.background) {
            (Some(mask), Some(colour)) => {
                self.cropped(&with_background(colour, image, mask), object.bounds)
            }
            _ => self.cropped(image, object.bounds),
        }
    }

    fn cropped(&self, image: &Image, bounds: [f32; 4]) -> Image {
        if !self.to_box {
            return image.clone();
        }
        let [left, top, right, bottom] = bounds.map(|side| side.round_ties_even() as i64);
        let width = (right - left).max(1) as usize;
        let height = (bottom - top).max(1) as usize;
        let mut pixels = vec![0; 3 * width * height];
        for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            let x = left + (i % width) as i64;
            let y = top + (i / width) as i64;
            if (0..image.width() as i64).contains(&x) && (0..image.height() as i64).contains(&y) {
                let at = 3 * (y as usize * image.width() + x as usize);
                pixel.copy_from_slice(&image.pixels()[at..at + 3]);
            }
        }
        Image::new(width, height, pixels)
    }
}

fn with_background(background: [u8; 3], image: &Image, mask: &Mask) -> Image {
    assert_eq!(
        (mask.width(), mask.height()),
        (image.width(), image.height()),
        "the mask must have the size of the image"
    );
    let pixels = image.pixels().chunks_exact(3).enumerate();
    let pixels = pixels.flat_map(|(i, pixel)| {
        if mask.holds(i) {
            [pixel[0], pixel[1], pixel[2]]
        } else {
            background
        }
    });
    Image::new(image.width(), image.height(), pixels.collect())
}
