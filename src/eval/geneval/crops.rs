//! What the colour classifier is shown of an object: its box, with everything that is not the
//! object painted grey.
//!
//! Reference: `ImageCrops` in GenEval's `evaluate_images.py`.

use ttsvar_search::Image;

use crate::{detectors::Object, image::Mask};

/// `#999`, what surrounds an object.
const GREY: [u8; 3] = [0x99; 3];

/// How objects are cut out; [`Cut::default`] is as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What surrounds an object inside its box; `None` leaves the picture.
    pub background: Option<[u8; 3]>,
    /// What is outside of the box goes.
    pub crop: bool,
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            background: Some(GREY),
            crop: true,
        }
    }
}

impl Cut {
    /// An object of a picture. What of its box lies outside of the picture is black; a box without
    /// pixels becomes one black pixel.
    ///
    /// # Panics
    /// When the object has a mask of another size than the picture's.
    pub fn out(&self, image: &Image, object: &Object) -> Image {
        match (&object.mask, self.background) {
            (Some(mask), Some(colour)) => self.cropped(&on(colour, image, mask), object.bounds),
            _ => self.cropped(image, object.bounds),
        }
    }

    fn cropped(&self, image: &Image, bounds: [f32; 4]) -> Image {
        if !self.crop {
            return image.clone();
        }
        let [left, top, right, bottom] = bounds.map(|side| side.round_ties_even() as i64);
        let (width, height) = (
            (right - left).max(1) as usize,
            (bottom - top).max(1) as usize,
        );
        let mut pixels = vec![0; 3 * width * height];
        for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = (left + (i % width) as i64, top + (i / width) as i64);
            if (0..image.width() as i64).contains(&x) && (0..image.height() as i64).contains(&y) {
                let at = 3 * (y as usize * image.width() + x as usize);
                pixel.copy_from_slice(&image.pixels()[at..at + 3]);
            }
        }
        Image::new(width, height, pixels)
    }
}

fn on(background: [u8; 3], image: &Image, mask: &Mask) -> Image {
    assert_eq!(
        (mask.width(), mask.height()),
        (image.width(), image.height()),
        "a mask of the picture's size"
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
