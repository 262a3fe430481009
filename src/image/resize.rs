//! Resizing as Pillow 11 does it, to the last bit: antialiased, horizontal pass first, 8 bits
//! between the passes.
//!
//! Each output pixel is a weighted sum over the input pixels below the filter, whose support is
//! widened by the factor of reduction. Weights are fixed-point numbers of 22 bits (Pillow,
//! `src/libImaging/Resample.c`).

use std::{borrow::Cow, ops::Range};

use rayon::prelude::*;
use ttsvar_search::{Image, half_to_even};

use super::opencv;

/// Bits behind the point of a weight: 32, less 8 of the pixel, less 2 for sums beyond 255.
const PRECISION_BITS: u32 = 22;

/// The weights of the input pixels around an output pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle two pixels wide.
    Bilinear,
    /// The cubic with a = -0.5, four pixels wide.
    Bicubic,
}

impl Filter {
    /// Half the width of the filter, in pixels of the coarser side.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// The side to which the odd pixel goes when a square is cut from the middle of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Half of the rest, rounded to even, as torchvision cuts it.
    ToEven,
    /// Half of the rest, rounded down, as Hugging Face's processors cut it.
    Down,
}

impl Half {
    /// The pixels that are cut off in front when `rest` pixels are cut off in all.
    fn before(self, rest: usize) -> usize {
        match self {
            Self::ToEven => half_to_even(rest),
            Self::Down => rest / 2,
        }
    }
}

/// Resizing of images.
pub trait Resize {
    /// The image at exactly this size, stretched where the aspect differs; a side that keeps its
    /// size is not resampled.
    ///
    /// # Panics
    /// When a size is 0.
    fn resize(&self, width: usize, height: usize, filter: Filter) -> Image;

    /// The image whose shorter side is `side`; the longer one is `side * long / short`, truncated,
    /// as in torchvision's `Resize(side)`.
    ///
    /// # Panics
    /// When a size is 0.
    fn resize_shorter_side(&self, side: usize, filter: Filter) -> Image;

    /// The middle of [`Resize::resize_shorter_side`], a square of `side`. Pixels outside the square
    /// are not computed, so an image of one pixel by a million costs no more than others.
    ///
    /// # Panics
    /// When a size is 0.
    fn resize_to_square(&self, side: usize, filter: Filter, half: Half) -> Image;

    /// The image at exactly this size as OpenCV's `INTER_LINEAR` resizes 8-bit images.
    ///
    /// # Panics
    /// When a size is 0.
    fn resize_like_opencv(&self, width: usize, height: usize) -> Image;
}

impl Resize for Image {
    fn resize(&self, width: usize, height: usize, filter: Filter) -> Image {
        assert!(
            width > 0 && height > 0 && self.width() > 0 && self.height() > 0,
            "an image has pixels"
        );
        let mut image = Cow::Borrowed(self);
        if width != image.width() {
            let columns = taps(image.width(), width, 0..width, filter);
            image = Cow::Owned(resample_rows(&image, 0..image.height(), &columns));
        }
        if height != image.height() {
            let rows = taps(image.height(), height, 0..height, filter);
            image = Cow::Owned(resample_columns(&image, &rows));
        }
        image.into_owned()
    }

    fn resize_shorter_side(&self, side: usize, filter: Filter) -> Image {
        let (width, height) = with_shorter_side(self, side);
        self.resize(width, height, filter)
    }

    fn resize_to_square(&self, side: usize, filter: Filter, half: Half) -> Image {
        let (width, height) = with_shorter_side(self, side);
        let left = half.before(width - side);
        let top = half.before(height - side);
        let columns = taps(self.width(), width, left..left + side, filter);
        let mut rows = taps(self.height(), height, top..top + side, filter);
        let first = rows.first().map_or(0, |taps| taps.first);
        let end = rows
            .last()
            .map_or(0, |taps| taps.first + taps.weights.len());
        for taps in &mut rows {
            taps.first -= first;
        }
        resample_columns(&resample_rows(self, first..end, &columns), &rows)
    }

    fn resize_like_opencv(&self, width: usize, height: usize) -> Image {
        opencv::resize(self, width, height)
    }
}

/// Width and height of `image` when its shorter side is `side`.
fn with_shorter_side(image: &Image, side: usize) -> (usize, usize) {
    let width = image.width();
    let height = image.height();
    if width <= height {
        (side, side * height / width)
    } else {
        (side * width / height, side)
    }
}

/// The given rows, with each pixel the weighted sum of the pixels under its taps.
fn resample_rows(image: &Image, rows: Range<usize>, taps: &[Taps]) -> Image {
    let width = taps.len();
    let height = rows.len();
    let row = 3 * image.width();
    let from = &image.pixels()[row * rows.start..row * rows.end];
    let mut pixels = vec![0; 3 * width * height];
    let rows = pixels
        .par_chunks_exact_mut(3 * width)
        .zip(from.par_chunks_exact(row));
    rows.for_each(|(to, from)| {
        for (pixel, taps) in to.chunks_exact_mut(3).zip(taps) {
            let mut sums = [ROUNDING; 3];
            for (from, weight) in from[3 * taps.first..].chunks_exact(3).zip(&taps.weights) {
                for (sum, &value) in sums.iter_mut().zip(from) {
                    *sum += i32::from(value) * weight;
                }
            }
            pixel.copy_from_slice(&sums.map(to_byte));
        }
    });
    Image::new(width, height, pixels)
}

/// Every column, with each pixel the weighted sum of the pixels under its taps.
fn resample_columns(image: &Image, taps: &[Taps]) -> Image {
    let row = 3 * image.width();
    let mut pixels = vec![0; row * taps.len()];
    pixels
        .par_chunks_exact_mut(row)
        .zip(taps)
        .for_each(|(to, taps)| {
            let mut sums = vec![ROUNDING; row];
            let rows = image.pixels()[row * taps.first..].chunks_exact(row);
            for (from, weight) in rows.zip(&taps.weights) {
                for (sum, &value) in sums.iter_mut().zip(from) {
                    *sum += i32::from(value) * weight;
                }
            }
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = to_byte(sum);
            }
        });
    Image::new(image.width(), taps.len(), pixels)
}

/// Half of the last place, so that the shift in [`to_byte`] rounds.
const ROUNDING: i32 = 1 << (PRECISION_BITS - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// The input pixels that make one output pixel: where they begin and what each weighs.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of `some` of `to` output pixels over a line of `from` input pixels.
fn taps(from: usize, to: usize, some: Range<usize>, filter: Filter) -> Vec<Taps> {
    let fixed = |(first, weights): (usize, Vec<f64>)| Taps {
        first,
        weights: weights.into_iter().map(fixed_point).collect(),
    };
    shares(from, to, some, filter).map(fixed).collect()
}

/// For `some` of `to` output pixels over a line of `from` input pixels the first of those that make
/// it, and the share of each from there on.
pub(super) fn shares(
    from: usize,
    to: usize,
    some: Range<usize>,
    filter: Filter,
) -> impl Iterator<Item = (usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0); // enlarging keeps the filter as wide as it is
    let support = filter.support() * stretch;
    some.map(move |i| {
        let center = (i as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize; // truncated: so does the cast in C
        let end = ((center + support + 0.5) as usize).min(from);
        let weight =
            |x: usize| filter.weight(((x + first) as f64 - center + 0.5) * (1.0 / stretch));
        let weights: Vec<f64> = (0..end - first).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        (first, weights.iter().map(|w| w / sum).collect())
    })
}

/// Rounded half away from zero.
fn fixed_point(weight: f64) -> i32 {
    (weight * f64::from(1u32 << PRECISION_BITS)).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_image() -> impl Strategy<Value = Image> {
        (1..24usize, 1..24usize).prop_flat_map(|(width, height)| {
            proptest::collection::vec(any::<u8>(), 3 * width * height)
                .prop_map(move |pixels| Image::new(width, height, pixels))
        })
    }

    fn filter() -> impl Strategy<Value = Filter> {
        prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)]
    }

    fn mirrored(image: &Image) -> Image {
        let rows = image.pixels().chunks_exact(3 * image.width());
        let pixels = rows
            .flat_map(|row| row.chunks_exact(3).rev().flatten())
            .copied()
            .collect();
        Image::new(image.width(), image.height(), pixels)
    }

    /// Rows become columns.
    fn turned(image: &Image) -> Image {
        let at = |x: usize, y: usize| &image.pixels()[3 * (y * image.width() + x)..][..3];
        let pixels = (0..image.width())
            .flat_map(|x| (0..image.height()).flat_map(move |y| at(x, y)))
            .copied()
            .collect();
        Image::new(image.height(), image.width(), pixels)
    }

    proptest! {
        #[test]
        fn same_size_is_the_same_image(image in any_image(), filter in filter()) {
            prop_assert_eq!(image.resize(image.width(), image.height(), filter), image);
        }

        #[test]
        fn one_colour_stays_one_colour(
            colour: [u8; 3],
            w in 1..40usize,
            h in 1..40usize,
            to in 1..60usize,
            filter in filter(),
        ) {
            let image = Image::new(w, h, colour.repeat(w * h));
            let resized = image.resize(to, 60 - to, filter);
            prop_assert_eq!(resized.pixels(), colour.repeat(to * (60 - to)));
        }

        #[test]
        fn a_square_is_the_middle_of_the_resized_image(
            image in any_image(),
            side in 1..40usize,
            filter in filter(),
        ) {
            let whole = image.resize_shorter_side(side, filter);
            let even = image.resize_to_square(side, filter, Half::ToEven);
            prop_assert_eq!(even, whole.center_crop(side, side));
            let left = (whole.width() - side) / 2;
            let top = (whole.height() - side) / 2;
            let down = image.resize_to_square(side, filter, Half::Down);
            prop_assert_eq!(down, whole.crop(left, top, side, side));
        }

        #[test]
        fn both_axes_are_treated_alike(image in any_image(), to in 1..40usize, filter in filter()) {
            let across = image.resize(to, image.height(), filter);
            let down = turned(&image).resize(image.height(), to, filter);
            prop_assert_eq!(turned(&across), down);
        }
    }

    #[test]
    fn long_thin_images_cost_no_more_than_others() {
        const LENGTH: usize = 1 << 22; // 3 GB if all of it were resized
        for (width, height) in [(1, LENGTH), (LENGTH, 1)] {
            let square = Image::new(width, height, vec![7; 3 * LENGTH]).resize_to_square(
                224,
                Filter::Bicubic,
                Half::ToEven,
            );
            assert_eq!(square, Image::new(224, 224, vec![7; 3 * 224 * 224]));
        }
    }

    #[test]
    fn a_mirrored_image_gives_the_mirrored_result() {
        let image = Image::new(8, 1, (0..24).map(|i| (i * 37 % 251) as u8).collect());
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            assert_eq!(
                mirrored(&image.resize(4, 1, filter)),
                mirrored(&image).resize(4, 1, filter)
            );
            assert_eq!(
                mirrored(&image.resize(16, 1, filter)),
                mirrored(&image).resize(16, 1, filter)
            );
        }
    }

    #[test]
    fn halving_by_triangles_weighs_four_pixels() {
        let image = Image::new(
            4,
            1,
            [0u8, 0, 80, 80].iter().flat_map(|v| [*v; 3]).collect(),
        );
        // The left pixel sees 0, 0, 80 with weights 3, 3, 1 of 7.
        assert_eq!(
            image.resize(2, 1, Filter::Bilinear).pixels(),
            [11, 11, 11, 69, 69, 69]
        );
    }

    #[test]
    fn the_longer_side_is_truncated() {
        let size = |w, h, side| {
            let image =
                Image::new(w, h, vec![0; 3 * w * h]).resize_shorter_side(side, Filter::Bicubic);
            (image.width(), image.height())
        };
        assert_eq!(size(320, 240, 224), (298, 224)); // 298.67
        assert_eq!(size(240, 325, 224), (224, 303)); // 303.3
        assert_eq!(size(229, 224, 224), (229, 224));
    }
}
