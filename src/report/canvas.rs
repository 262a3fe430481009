//! A canvas for rectangles, images, lines and text with anti-aliasing.

use ttsvar_search::Image;

use super::text::{self, Face};

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// A position in pixels: x to the right, y down.
pub(super) type Point = (f32, f32);

/// A rectangle in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

impl Rect {
    pub(super) fn top_centre(self) -> Point {
        (self.left as f32 + self.width as f32 / 2.0, self.top as f32)
    }

    pub(super) fn bottom_centre(self) -> Point {
        (
            self.left as f32 + self.width as f32 / 2.0,
            (self.top + self.height) as f32,
        )
    }

    /// The same rectangle with each side moved outwards.
    pub(super) fn grown(self, by: usize) -> Self {
        Self {
            left: self.left.saturating_sub(by),
            top: self.top.saturating_sub(by),
            width: self.width + 2 * by,
            height: self.height + 2 * by,
        }
    }
}

/// The canvas. Anything outside of it is clipped.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self {
            width,
            height,
            pixels: colour.repeat(width * height),
        }
    }

    pub(super) fn into_image(self) -> Image {
        Image::new(self.width, self.height, self.pixels)
    }

    /// Blends `colour` over a pixel; `cover` 0 keeps the pixel, 1 replaces it.
    fn blend(&mut self, x: usize, y: usize, colour: Colour, cover: f32) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = 3 * (y * self.width + x);
        for (pixel, value) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            *pixel = mix(*pixel, value, cover);
        }
    }

    pub(super) fn fill(&mut self, rect: Rect, colour: Colour) {
        for y in rect.top..rect.top + rect.height {
            for x in rect.left..rect.left + rect.width {
                self.blend(x, y, colour, 1.0);
            }
        }
    }

    /// Draws a frame of `thickness` pixels around a rectangle.
    pub(super) fn frame(&mut self, rect: Rect, thickness: usize, colour: Colour) {
        let outer = rect.grown(thickness);
        let bottom = rect.top + rect.height;
        let right = rect.left + rect.width;
        for top in [outer.top, bottom] {
            self.fill(
                Rect {
                    top,
                    height: thickness,
                    ..outer
                },
                colour,
            );
        }
        for left in [outer.left, right] {
            self.fill(
                Rect {
                    left,
                    width: thickness,
                    ..outer
                },
                colour,
            );
        }
    }

    /// Draws an image with its upper left corner at (`left`, `top`), faded towards `colour` by
    /// `fade`, 0 to 1.
    pub(super) fn image(
        &mut self,
        image: &Image,
        left: usize,
        top: usize,
        fade: f32,
        colour: Colour,
    ) {
        for (i, pixel) in image.pixels().chunks_exact(3).enumerate() {
            let x = left + i % image.width();
            let y = top + i / image.width();
            self.blend(
                x,
                y,
                std::array::from_fn(|i| mix(pixel[i], colour[i], fade)),
                1.0,
            );
        }
    }

    /// Draws a straight line with round ends.
    pub(super) fn line(&mut self, from: Point, to: Point, thickness: f32, colour: Colour) {
        let reach = thickness / 2.0 + 1.0;
        let whole = |value: f32| value.max(0.0) as usize;
        let left = whole(from.0.min(to.0) - reach);
        let right = whole(from.0.max(to.0) + reach + 1.0);
        let top = whole(from.1.min(to.1) - reach);
        let bottom = whole(from.1.max(to.1) + reach + 1.0);
        for y in top..bottom {
            for x in left..right {
                let far = distance((x as f32 + 0.5, y as f32 + 0.5), from, to);
                let cover = (thickness / 2.0 + 0.5 - far).clamp(0.0, 1.0);
                if cover > 0.0 {
                    self.blend(x, y, colour, cover);
                }
            }
        }
    }

    /// Draws a curve that leaves `from` and reaches `to` vertically.
    pub(super) fn branch(&mut self, from: Point, to: Point, thickness: f32, colour: Colour) {
        const PARTS: usize = 40;
        let middle = (from.1 + to.1) / 2.0;
        let at = |part: usize| {
            let t = part as f32 / PARTS as f32;
            let u = 1.0 - t;
            let weights = [u * u * u, 3.0 * u * u * t, 3.0 * u * t * t, t * t * t];
            let sum =
                |values: [f32; 4]| weights.iter().zip(values).map(|(w, v)| w * v).sum::<f32>();
            (
                sum([from.0, from.0, to.0, to.0]),
                sum([from.1, middle, middle, to.1]),
            )
        };
        for part in 0..PARTS {
            self.line(at(part), at(part + 1), thickness, colour);
        }
    }

    /// Draws a line of text with its left end at `left` and its baseline at `base`.
    pub(super) fn text(&mut self, face: Face, left: f32, base: f32, words: &str, colour: Colour) {
        text::draw(face, left, base, words, |x, y, cover| {
            self.blend(x, y, colour, cover)
        });
    }

    /// Draws a line of text centred at `centre`.
    pub(super) fn text_centred(
        &mut self,
        face: Face,
        centre: f32,
        base: f32,
        words: &str,
        colour: Colour,
    ) {
        self.text(
            face,
            (centre - text::width(face, words) / 2.0).round(),
            base,
            words,
            colour,
        );
    }
}

/// From `a` (share 0) to `b` (share 1).
fn mix(a: u8, b: u8, share: f32) -> u8 {
    (f32::from(a) + (f32::from(b) - f32::from(a)) * share).round() as u8
}

/// Distance of a point from a line segment.
fn distance(point: Point, from: Point, to: Point) -> f32 {
    let along = (to.0 - from.0, to.1 - from.1);
    let away = (point.0 - from.0, point.1 - from.1);
    let length = along.0 * along.0 + along.1 * along.1;
    let share = if length == 0.0 {
        0.0
    } else {
        ((away.0 * along.0 + away.1 * along.1) / length).clamp(0.0, 1.0)
    };
    (away.0 - share * along.0).hypot(away.1 - share * along.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Colour = [255; 3];
    const BLACK: Colour = [0; 3];

    fn at(image: &Image, x: usize, y: usize) -> u8 {
        image.pixels()[3 * (y * image.width() + x)]
    }

    #[test]
    fn drawing_is_clipped() {
        let mut canvas = Canvas::new(4, 4, WHITE);
        canvas.fill(
            Rect {
                left: 3,
                top: 3,
                width: 9,
                height: 9,
            },
            BLACK,
        );
        canvas.line((-5.0, -5.0), (20.0, -5.0), 2.0, BLACK);
        let image = canvas.into_image();
        assert_eq!(
            (at(&image, 3, 3), at(&image, 2, 3), at(&image, 0, 0)),
            (0, 255, 255)
        );
    }

    #[test]
    fn a_frame_does_not_change_its_inside() {
        let mut canvas = Canvas::new(6, 6, WHITE);
        canvas.frame(
            Rect {
                left: 2,
                top: 2,
                width: 2,
                height: 2,
            },
            1,
            BLACK,
        );
        let image = canvas.into_image();
        let dark = (0..36).filter(|i| at(&image, i % 6, i / 6) == 0).count();
        assert_eq!((dark, at(&image, 2, 2), at(&image, 1, 1)), (12, 255, 0));
    }

    #[test]
    fn a_faded_image_approaches_the_colour() {
        let mut canvas = Canvas::new(2, 1, BLACK);
        canvas.image(&Image::new(1, 1, vec![0; 3]), 1, 0, 0.5, WHITE);
        assert_eq!(canvas.into_image().pixels(), [0, 0, 0, 128, 128, 128]);
    }
}
