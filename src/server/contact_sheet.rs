//! Contact sheets: the images of a scale side by side in one file.

use serde::{Deserialize, Serialize};
use ttsvar_search::Image;

use crate::image::{Filter, Resize};

/// Pixels along the shorter side of an image on a contact sheet, enough for the page.
const THUMBNAIL_SIDE: usize = 256;

/// A contact sheet, as a `previews` event describes it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ContactSheet {
    pub scale: usize,
    /// The candidates, from left to right.
    pub ids: Vec<usize>,
    /// The number of the file.
    pub sheet: usize,
}

impl ContactSheet {
    /// Cuts the image in the file into those of the candidates. `None` if it is too narrow.
    pub(super) fn cut(&self, whole: &Image) -> Option<Vec<Image>> {
        let count = self.ids.len();
        if count == 0 || whole.width() < count {
            return None;
        }
        let width = whole.width() / count;
        let column = |number: usize| whole.crop(number * width, 0, width, whole.height());
        Some((0..count).map(column).collect())
    }
}

/// Places images of one size side by side, large ones scaled down.
pub(super) fn draw(images: &[Image]) -> Image {
    let thumbnails: Vec<Image> = images.iter().map(thumbnail).collect();
    let width = thumbnails[0].width();
    let height = thumbnails[0].height();
    let mut pixels = Vec::with_capacity(3 * thumbnails.len() * width * height);
    for y in 0..height {
        for image in &thumbnails {
            pixels.extend_from_slice(&image.pixels()[3 * y * width..3 * (y + 1) * width]);
        }
    }
    Image::new(thumbnails.len() * width, height, pixels)
}

/// The image, scaled down if it is large.
fn thumbnail(image: &Image) -> Image {
    if image.width().min(image.height()) > THUMBNAIL_SIDE {
        image.resize_shorter_side(THUMBNAIL_SIDE, Filter::Bicubic)
    } else {
        image.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_sheet_has_the_images_from_left_to_right() {
        let image = |value: u8| Image::new(2, 2, vec![value; 12]);
        let images = [image(1), image(2), image(3)];
        let whole = draw(&images);
        assert_eq!((whole.width(), whole.height()), (6, 2));
        let reds: Vec<u8> = whole.pixels().iter().step_by(3).copied().collect();
        assert_eq!(reds, [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]);
        let mut sheet = ContactSheet {
            scale: 0,
            ids: vec![0, 1, 2],
            sheet: 0,
        };
        assert_eq!(sheet.cut(&whole).unwrap(), images);
        sheet.ids = (0..7).collect();
        assert!(sheet.cut(&whole).is_none());
    }

    #[test]
    fn large_images_are_scaled_down_on_a_contact_sheet() {
        let sheet = draw(&[Image::new(1024, 512, vec![7; 3 * 1024 * 512])]);
        assert_eq!((sheet.width(), sheet.height()), (512, 256));
    }
}
