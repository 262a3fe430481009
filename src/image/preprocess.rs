//! Images in the form that networks expect: square, of one size, as three planes of normalised
//! numbers.

use rayon::prelude::*;

use super::{
    Image,
    resize::{Filter, Half, Resize, shares},
};

/// The preprocessing of a network's images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    pub(super) fit: Fit,
    /// The filter of resizing, except for [`Fit::Letterbox`].
    pub(super) filter: Filter,
    /// Of each channel, of values from 0 to 1.
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
}

/// The way to make an image square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// The shorter side is brought to the size, the middle of the longer one is kept.
    Crop(Half),
    /// The longer side is brought to the size, the rest is black; see [`letterbox`].
    Letterbox,
    /// Both sides are brought to the size.
    Stretch,
    /// The image in the middle of a square of this colour, which is brought to the size.
    Pad([u8; 3]),
}

impl Preprocess {
    /// CLIP as OpenAI published it, and BLIP and ImageReward after it: Pillow's bicubic to the
    /// shorter side, centre crop.
    pub const CLIP: Self = Self {
        fit: Fit::Crop(Half::ToEven),
        filter: Filter::Bicubic,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };

    /// CLIP as Hugging Face's processor prepares it: the same but for an odd rest of the crop.
    pub const CLIP_PROCESSOR: Self = Self {
        fit: Fit::Crop(Half::Down),
        ..Self::CLIP
    };

    /// LLaVA and CLIP-FlanT5 (`expand2square` of their `mm_utils.py`): the whole image on the mean
    /// colour, cut to whole levels, before Pillow's bicubic, so that the edge is soft.
    pub const CLIP_PADDED: Self = Self {
        fit: Fit::Pad([122, 116, 104]),
        ..Self::CLIP
    };

    /// HPSv2 (`hpsv2/src/open_clip/transform.py`, `ResizeMaxSize`): the whole image on black,
    /// resized in floats.
    pub const HPS: Self = Self {
        fit: Fit::Letterbox,
        ..Self::CLIP
    };

    /// BLIP as it answers questions: Pillow's bicubic to exactly the size.
    pub const BLIP_VQA: Self = Self {
        fit: Fit::Stretch,
        ..Self::CLIP
    };

    /// SigLIP: Pillow's bicubic to exactly the size, values from -1 to 1.
    pub const SIGLIP: Self = Self {
        fit: Fit::Stretch,
        filter: Filter::Bicubic,
        mean: [0.5; 3],
        std: [0.5; 3],
    };

    /// A batch of images, one after the other: (B, 3, side, side).
    ///
    /// # Panics
    /// When `side` is 0 or an image has no pixels.
    pub fn batch(&self, images: &[Image], side: usize) -> Vec<f32> {
        let planes: Vec<Vec<f32>> = images
            .par_iter()
            .map(|image| self.planes(image, side))
            .collect();
        planes.concat()
    }

    /// The red plane, then green, then blue, each row by row: (3, side, side).
    fn planes(&self, image: &Image, side: usize) -> Vec<f32> {
        let Self {
            fit,
            filter,
            mean,
            std,
        } = *self;
        match fit {
            Fit::Crop(half) => image.resize_to_square(side, filter, half).to_chw(mean, std),
            Fit::Stretch => image.resize(side, side, filter).to_chw(mean, std),
            Fit::Pad(colour) => {
                let square = padded(image, colour);
                square.resize(side, side, filter).to_chw(mean, std)
            }
            Fit::Letterbox => {
                let mut planes = letterbox(image, side);
                for (channel, plane) in planes.chunks_exact_mut(side * side).enumerate() {
                    plane
                        .iter_mut()
                        .for_each(|value| *value = (*value - mean[channel]) / std[channel]);
                }
                planes
            }
        }
    }
}

/// The whole image in the middle of a square of its longer side. An odd rest goes to the right and
/// below.
fn padded(image: &Image, colour: [u8; 3]) -> Image {
    let width = image.width();
    let side = width.max(image.height());
    let left = (side - width) / 2;
    let top = (side - image.height()) / 2;
    let mut pixels = colour.repeat(side * side);
    let rows = pixels
        .chunks_exact_mut(3 * side)
        .skip(top)
        .zip(image.pixels().chunks_exact(3 * width));
    rows.for_each(|(to, from)| to[3 * left..3 * (left + width)].copy_from_slice(from));
    Image::new(side, side, pixels)
}

/// The whole image in the middle of a black square, (3, side, side), values from 0 to 1 or a
/// little beyond: as torchvision does it on tensors, nothing is rounded to 8 bits between the
/// passes or after them. An odd rest goes to the right and below. (The original leaves an image
/// alone whose longer side fits, and then fails unless it is square.)
fn letterbox(image: &Image, side: usize) -> Vec<f32> {
    let scale = side as f64 / image.width().max(image.height()) as f64;
    let fitted = |length: usize| ((length as f64 * scale).round_ties_even() as usize).max(1);
    let width = fitted(image.width());
    let height = fitted(image.height());
    let left = (side - width) / 2;
    let top = (side - height) / 2;
    let mut planes = vec![0.0; 3 * side * side];
    for (channel, plane) in planes.chunks_exact_mut(side * side).enumerate() {
        let resized = resize_plane(image, channel, width, height);
        let rows = plane
            .chunks_exact_mut(side)
            .skip(top)
            .zip(resized.chunks_exact(width));
        rows.for_each(|(to, from)| to[left..left + width].copy_from_slice(from));
    }
    planes
}

/// One channel at this size by the bicubic filter, values from 0 to 1 or a little beyond.
fn resize_plane(image: &Image, channel: usize, width: usize, height: usize) -> Vec<f32> {
    let columns: Vec<_> = shares(image.width(), width, 0..width, Filter::Bicubic).collect();
    // As wide as the result, as many as there were
    let mut lines = Vec::with_capacity(width * image.height());
    for row in image.pixels().chunks_exact(3 * image.width()) {
        let value = |x: usize| f64::from(row[3 * x + channel]) / 255.0;
        let sum = |(first, shares): &(usize, Vec<f64>)| -> f64 {
            shares
                .iter()
                .enumerate()
                .map(|(i, share)| share * value(first + i))
                .sum()
        };
        lines.extend(columns.iter().map(sum));
    }
    let mut plane = Vec::with_capacity(width * height);
    for (first, shares) in shares(image.height(), height, 0..height, Filter::Bicubic) {
        let sum = |x: usize| -> f64 {
            shares
                .iter()
                .enumerate()
                .map(|(i, share)| share * lines[(first + i) * width + x])
                .sum()
        };
        plane.extend((0..width).map(|x| sum(x) as f32));
    }
    plane
}

#[cfg(test)]
mod tests {
    use super::*;

    fn white(width: usize, height: usize) -> Image {
        Image::new(width, height, vec![255; 3 * width * height])
    }

    #[test]
    fn a_letterbox_keeps_the_aspect_and_is_black_around_it() {
        for (width, height) in [(9, 4), (4, 9), (8, 8), (8, 3), (100, 1)] {
            let plane = &letterbox(&white(width, height), 8)[..64];
            let row = |y: usize| {
                plane[8 * y..8 * (y + 1)]
                    .iter()
                    .filter(|value| **value > 0.5)
                    .count()
            };
            let rows: Vec<usize> = (0..8).map(row).collect();
            let expected: [usize; 8] = match (width, height) {
                (9, 4) => [0, 0, 8, 8, 8, 8, 0, 0], // 3.56 rows
                (4, 9) => [4; 8],
                (8, 3) => [0, 0, 8, 8, 8, 0, 0, 0],
                (100, 1) => [0, 0, 0, 8, 0, 0, 0, 0],
                _ => [8; 8],
            };
            assert_eq!(rows, expected, "{width} x {height}");
            assert!(
                plane
                    .iter()
                    .all(|value| *value == 0.0 || (*value - 1.0).abs() < 1e-6)
            );
        }
    }

    #[test]
    fn a_padded_image_has_its_odd_rest_at_the_end() {
        let square = padded(&white(2, 5), [1, 2, 3]);
        assert_eq!((square.width(), square.height()), (5, 5));
        let row = [[1, 2, 3], [255; 3], [255; 3], [1, 2, 3], [1, 2, 3]].concat();
        assert_eq!(square.pixels(), row.repeat(5));
        let flat = padded(&white(3, 2), [0; 3]);
        assert_eq!(flat.pixels(), [[255; 18].as_slice(), &[0; 9]].concat());
        assert_eq!(padded(&white(4, 4), [0; 3]), white(4, 4));
    }

    #[test]
    fn a_batch_is_its_images_one_after_the_other() {
        let images = [white(5, 7), Image::new(9, 4, (0..108).collect())];
        for preprocess in [Preprocess::CLIP, Preprocess::HPS, Preprocess::SIGLIP] {
            let both = preprocess.batch(&images, 6);
            let each = images.iter().flat_map(|image| preprocess.planes(image, 6));
            assert_eq!(both, each.collect::<Vec<_>>());
            assert_eq!(both.len(), 2 * 3 * 6 * 6);
        }
    }
}
