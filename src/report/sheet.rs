//! A contact sheet: the same prompts painted in two ways, side by side.

use ttsvar_search::Image;

use super::{
    canvas::{Canvas, Colour, Rect},
    text::{Face, wrap},
};
use crate::image::{Filter, Resize};

/// Two pictures of one prompt.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The prompt.
    pub prompt: String,
    /// The two pictures.
    pub sides: [Side; 2],
}

/// One picture of a pair.
#[derive(Clone, Debug)]
pub struct Side {
    /// Who painted it.
    pub name: String,
    /// The picture.
    pub image: Image,
    /// Whether the judge found it right.
    pub right: bool,
}

/// Pairs in a row.
const COLUMNS: usize = 4;
/// Pixels along each side of a picture.
const PICTURE: usize = 192;
/// Between the pictures of a pair.
const GAP: usize = 6;
/// Around a pair.
const MARGIN: usize = 14;
/// Height of the prompt above a pair, and of the names below it.
const CAPTION: usize = 48;
const NAMES: usize = 28;

const WHITE: Colour = [255; 3];
const INK: Colour = [34, 34, 40];
const RIGHT: Colour = [0, 122, 90];
const WRONG: Colour = [190, 70, 0];

/// All pairs in one picture.
pub fn sheet(pairs: &[Pair]) -> Image {
    let columns = pairs.len().clamp(1, COLUMNS);
    let cell = (
        2 * PICTURE + GAP + 2 * MARGIN,
        CAPTION + PICTURE + NAMES + MARGIN,
    );
    let mut canvas = Canvas::new(
        columns * cell.0,
        pairs.len().div_ceil(columns).max(1) * cell.1,
        WHITE,
    );
    for (i, pair) in pairs.iter().enumerate() {
        let (left, top) = (i % columns * cell.0 + MARGIN, i / columns * cell.1);
        caption(&mut canvas, left, top, &pair.prompt);
        for (place, side) in pair.sides.iter().enumerate() {
            draw(
                &mut canvas,
                left + place * (PICTURE + GAP),
                top + CAPTION,
                side,
            );
        }
    }
    canvas.into_image()
}

/// The prompt on two lines at most, on the last of them when one is enough.
fn caption(canvas: &mut Canvas, left: usize, top: usize, prompt: &str) {
    const LINE: usize = 19;
    let face = Face::Words(18.0);
    let lines = wrap(face, prompt, (2 * PICTURE + GAP) as f32, 2);
    let first = top + CAPTION - 8 - LINE * (lines.len() - 1);
    for (i, line) in lines.iter().enumerate() {
        canvas.text(face, left as f32, (first + i * LINE) as f32, line, INK);
    }
}

fn draw(canvas: &mut Canvas, left: usize, top: usize, side: &Side) {
    let (width, height) = (side.image.width(), side.image.height());
    // The aspect stays
    let fitted = |size: usize| (size * PICTURE / width.max(height).max(1)).max(1);
    let image = side
        .image
        .resize(fitted(width), fitted(height), Filter::Bicubic);
    let (right, down) = (
        (PICTURE - fitted(width)) / 2,
        (PICTURE - fitted(height)) / 2,
    );
    canvas.picture(&image, left + right, top + down, 0.0, WHITE);
    let colour = if side.right { RIGHT } else { WRONG };
    canvas.frame(
        Rect {
            left,
            top,
            width: PICTURE,
            height: PICTURE,
        },
        2,
        colour,
    );
    let (x, base) = (left as f32 + 4.0, (top + PICTURE + 20) as f32);
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
    fn every_pair_has_its_place() {
        let side = |right| Side {
            name: "raw".to_owned(),
            image: Image::new(64, 64, vec![9; 64 * 64 * 3]),
            right,
        };
        let pair = Pair {
            prompt: "a photo of a very long wish ".repeat(9),
            sides: [side(true), side(false)],
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
