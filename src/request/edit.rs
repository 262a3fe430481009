//! An edit as a caller gives it: an image, and the mask of its part that is regenerated.

use serde_json::{Map, Value};
use ttsvar_search::Image;

use crate::{
    Error, Result,
    hash::fnv,
    image::{Filter, Mask, Resize},
    report::EDIT,
};

/// By how much the shape of an image may differ from the one that is generated.
const SHAPE: f64 = 0.01;

/// An image, and the mask of its part that is regenerated.
#[derive(Clone, Debug, PartialEq)]
pub struct EditInput {
    /// The image.
    pub image: Image,
    /// The part is the inside.
    pub mask: Mask,
}

impl EditInput {
    /// Scales both to `size` (height, width).
    ///
    /// # Errors
    /// They differ in size, or have another shape.
    pub fn fitted(self, (height, width): (usize, usize)) -> Result<Self> {
        let Self { image, mask } = &self;
        let found = (image.width(), image.height());
        if found != (mask.width(), mask.height()) {
            let masked = (mask.width(), mask.height());
            return Err(Error::input(format!(
                "the image has {} x {} pixels, its mask {} x {}",
                found.0, found.1, masked.0, masked.1
            ))
            .with_hint(
                "use a mask of the same size as the image; the part to regenerate is white in it",
            ));
        }
        let shape = |width: usize, height: usize| (width as f64 / height as f64).ln();
        if (shape(found.0, found.1) - shape(width, height)).abs() > SHAPE {
            return Err(Error::input(format!(
                "the image has {} x {} pixels, but images of {width} x {height} are generated",
                found.0, found.1
            ))
            .with_hint("crop image and mask to that shape, or choose another --aspect or size"));
        }
        if found == (width, height) {
            return Ok(self);
        }
        // The pixel of the mask at the centre of a pixel, as images are resized.
        let at = |place: usize, size: usize, of_mask: usize| (2 * place + 1) * of_mask / (2 * size);
        let nearest = |pixel: usize| {
            let x = at(pixel % width, width, mask.width());
            let y = at(pixel / width, height, mask.height());
            mask.holds(y * mask.width() + x)
        };
        Ok(Self {
            image: image.resize(width, height, Filter::Bicubic),
            mask: Mask::new(width, height, nearest),
        })
    }

    /// Records the edit by a name: another image or mask has another one.
    pub(crate) fn record(&self, settings: &mut Map<String, Value>) {
        settings.insert(EDIT.to_owned(), self.name().into());
    }

    fn name(&self) -> String {
        let pixels = self.image.width() * self.image.height();
        let inside = (0..pixels).map(|pixel| u8::from(self.mask.holds(pixel)));
        let bytes = self.image.pixels().iter().copied().chain(inside);
        format!("{:016x}", fnv(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(image: Image, mask: Mask) -> EditInput {
        EditInput { image, mask }
    }

    #[test]
    fn image_and_mask_are_scaled_together() {
        let image = Image::new(8, 4, vec![9; 96]);
        let mask = Mask::new(8, 4, |pixel| pixel % 8 < 4);
        let edit = input(image.clone(), mask.clone());
        let fitted = edit.clone().fitted((8, 16)).unwrap();
        assert_eq!((fitted.image.width(), fitted.image.height()), (16, 8));
        let scaled = Mask::new(16, 8, |pixel| pixel % 16 < 8);
        assert_eq!(fitted.mask, scaled);
        assert!(input(image, scaled).fitted((8, 16)).is_err());
        assert!(edit.fitted((8, 8)).is_err());
    }

    #[test]
    fn other_images_and_masks_have_other_names() {
        let name = |value: u8, first: usize| {
            let mask = Mask::new(2, 2, |pixel| pixel >= first);
            input(Image::new(2, 2, vec![value; 12]), mask).name()
        };
        assert_eq!(name(1, 1), name(1, 1));
        assert_ne!(name(1, 1), name(2, 1));
        assert_ne!(name(1, 1), name(1, 2));
    }
}
