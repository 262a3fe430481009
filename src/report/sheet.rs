//! A contact sheet: images of the same prompts by two contenders, side by side.

use ttsvar_search::Image;

use super::{
    canvas::{Canvas, Colour, Rect},
    text::{Face, wrap},
};
use crate::image::{Filter, Resize};

/// Two images of one prompt.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The prompt.
    pub prompt: String,
    /// The two images.
    pub images: [SheetImage; 2],
}

/// One image of a pair.
#[derive(Clone, Debug)]
pub struct SheetImage {
    /// Its contender.
    pub name: String,
    /// The image.
    pub image: Image,
    /// The verdict of the evaluator.
    pub right: bool,
}

/// Pairs in a row.
const COLUMNS: usize = 4;
/// Side length of an image in pixels.
const SIDE: usize = 192;
/// Gap between the images of a pair.
const GAP: usize = 6;
/// Margin around a pair.
const MARGIN: usize = 14;
/// Height of the prompt above a pair, and of the names below it.
const CAPTION: usize = 48;
const NAMES: usize = 28;

const WHITE: Colour = [255; 3];
const INK: Colour = [34, 34, 40];
const RIGHT: Colour = [0, 122, 90];
const WRONG: Colour = [190, 70, 0];

/// All pairs in one image.
pub fn sheet(pairs: &[Pair]) -> Image {
    let columns = pairs.len().clamp(1, COLUMNS);
    let rows = pairs.len().div_ceil(columns).max(1);
    let width = 2 * SIDE + GAP + 2 * MARGIN;
    let height = CAPTION + SIDE + NAMES + MARGIN;
    let mut canvas = Canvas::new(columns * width, rows * height, WHITE);
    for (i, pair) in pairs.iter().enumerate() {
        let left = i % columns * width + MARGIN;
        let top = i / columns * height;
        caption(&mut canvas, left, top, &pair.prompt);
        for (place, side) in pair.images.iter().enumerate() {
            draw(
                &mut canvas,
                left + place * (SIDE + GAP),
                top + CAPTION,
                side,
            );
        }
    }
    canvas.into_image()
}

/// The prompt on up to two lines, aligned to the bottom.
fn caption(canvas: &mut Canvas, left: usize, top: usize, prompt: &str) {
    const LINE: usize = 19;
    let face = Face::Words(18.0);
    let lines = wrap(face, prompt, (2 * SIDE + GAP) as f32, 2);
    let first = top + CAPTION - 8 - LINE * (lines.len() - 1);
    for (i, line) in lines.iter().enumerate() {
        canvas.text(face, left as f32, (first + i * LINE) as f32, line, INK);
    }
}

fn draw(canvas: &mut Canvas, left: usize, top: usize, side: &SheetImage) {
    let width = side.image.width();
    let height = side.image.height();
    // Keeps the aspect ratio.
    let fitted = |size: usize| (size * SIDE / width.max(height).max(1)).max(1);
    let image = side
        .image
        .resize(fitted(width), fitted(height), Filter::Bicubic);
    let right = (SIDE - fitted(width)) / 2;
    let down = (SIDE - fitted(height)) / 2;
    canvas.image(&image, left + right, top + down, 0.0, WHITE);
    let colour = if side.right { RIGHT } else { WRONG };
    canvas.frame(
        Rect {
            left,
            top,
            width: SIDE,
            height: SIDE,
        },
        2,
        colour,
    );
    let x = left as f32 + 4.0;
    let base = (top + SIDE + 20) as f32;
    if side.right {
        canvas.line((x, base - 5.0), (x + 4.0, base - 1.0), 2.4, colour);
        canvas.line((x + 4.0, base - 1.0), (x + 11.0, base - 11.0), 2.4, colour);
    } else {
        canvas.line((x, base - 10.0), (x + 10.0, base), 2.4, colour);
        canvas.line((x, base), (x + 10.0, base - 10.0), 2.4, colour);
    }
    canvas.text(Face::Words(16.0), x + 18.0, base, &side.name, INK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_fill_a_grid() {
        let image = |right| SheetImage {
            name: "raw".to_owned(),
            image: Image::new(64, 64, vec![9; 64 * 64 * 3]),
            right,
        };
        let pair = Pair {
            prompt: "a photo of a very long prompt ".repeat(9),
            images: [image(true), image(false)],
        };
        let one = sheet(std::slice::from_ref(&pair));
        let eight = sheet(&vec![pair; 8]);
        assert_eq!(
            (eight.width(), eight.height()),
            (4 * one.width(), 2 * one.height())
        );
        assert_eq!(
            (sheet(&[]).width(), sheet(&[]).height()),
            (one.width(), one.height())
        );
    }
}
