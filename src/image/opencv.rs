//! Resizing as OpenCV does it (`INTER_LINEAR`, 8 bits), to the last bit: two neighbours along each
//! side, no antialiasing, weights of 11 bits. Equal to OpenCV 5.0 on images of noise of eight
//! pairs of sizes.

use rayon::prelude::*;
use ttsvar_search::Image;

/// 1 as a weight.
const ONE: f32 = 2048.0;

/// The image at exactly this size.
///
/// # Panics
/// When a size is 0.
pub(super) fn resize(image: &Image, width: usize, height: usize) -> Image {
    assert!(
        width > 0 && height > 0 && image.width() > 0 && image.height() > 0,
        "an image has pixels"
    );
    if (width, height) == (image.width(), image.height()) {
        return image.clone();
    }
    // Columns beyond the border count for nothing; rows beyond it are the border's row.
    let columns: Vec<Pair> = pairs(image.width(), width)
        .map(Pair::without_border)
        .collect();
    let mut pixels = vec![0; 3 * width * height];
    let rows: Vec<Vec<i32>> = image
        .pixels()
        .par_chunks(3 * image.width())
        .map(|row| across(row, &columns))
        .collect();
    let down: Vec<Pair> = pairs(image.height(), height).collect();
    pixels
        .par_chunks_mut(3 * width)
        .zip(&down)
        .for_each(|(out, pair)| {
            let above = &rows[pair.at[0]];
            let below = &rows[pair.at[1]];
            let part = |value: i32, weight: i32| (weight * (value >> 4)) >> 16;
            for ((out, &above), &below) in out.iter_mut().zip(above).zip(below) {
                let sum = part(above, pair.weights[0]) + part(below, pair.weights[1]);
                *out = ((sum + 2) >> 2).clamp(0, 255) as u8;
            }
        });
    Image::new(width, height, pixels)
}

/// Two neighbours and what each weighs.
struct Pair {
    at: [usize; 2],
    weights: [i32; 2],
    /// The second, or the first, lies beyond the border.
    beyond: bool,
}

impl Pair {
    fn without_border(self) -> Self {
        if self.beyond {
            Self {
                weights: [ONE as i32, 0],
                at: [self.at[0]; 2],
                ..self
            }
        } else {
            self
        }
    }
}

fn pairs(from: usize, to: usize) -> impl Iterator<Item = Pair> {
    let step = 1.0 / (to as f64 / from as f64);
    let last = from as i64 - 1;
    (0..to).map(move |i| {
        let place = ((i as f64 + 0.5) * step - 0.5) as f32;
        let first = place.floor() as i64;
        let share = place - place.floor();
        let weights =
            [(1.0 - share) * ONE, share * ONE].map(|weight| weight.round_ties_even() as i32);
        let at = [first, first + 1].map(|at| at.clamp(0, last) as usize);
        Pair {
            at,
            weights,
            beyond: first < 0 || first >= last,
        }
    })
}

fn across(row: &[u8], columns: &[Pair]) -> Vec<i32> {
    let value = |pair: &Pair, channel: usize| {
        let [first, second] = pair.at.map(|at| i32::from(row[3 * at + channel]));
        first * pair.weights[0] + second * pair.weights[1]
    };
    columns
        .iter()
        .flat_map(|pair| [0, 1, 2].map(|channel| value(pair, channel)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenCV 5.0's result for an image of noise.
    #[test]
    fn images_grow_and_shrink_as_in_opencv() {
        let pixels = [
            [139, 99, 13, 51, 153, 146, 209, 84, 67, 25, 106, 186],
            [99, 22, 27, 149, 247, 73, 200, 22, 109, 248, 131, 89],
            [176, 102, 130, 44, 32, 50, 197, 151, 98, 186, 248, 194],
        ];
        let image = Image::new(4, 3, pixels.concat());
        let larger = resize(&image, 7, 5);
        let expected = [
            [
                139, 99, 13, 108, 118, 60, 57, 149, 136, 130, 118, 106, 196, 85, 75, 91, 98, 143,
                25, 106, 186,
            ],
            [
                123, 68, 19, 111, 112, 54, 92, 182, 110, 148, 125, 100, 199, 63, 88, 147, 96, 124,
                114, 116, 147,
            ],
            [
                99, 22, 27, 117, 102, 43, 145, 231, 70, 175, 135, 91, 203, 30, 108, 231, 92, 96,
                248, 131, 89,
            ],
            [
                145, 70, 89, 124, 87, 78, 90, 114, 61, 142, 109, 81, 199, 107, 106, 206, 165, 134,
                211, 201, 152,
            ],
            [
                176, 102, 130, 129, 77, 101, 53, 37, 56, 120, 91, 74, 196, 158, 105, 190, 213, 160,
                186, 248, 194,
            ],
        ];
        assert_eq!(larger.pixels(), expected.concat());
        let smaller = resize(&image, 3, 2);
        let expected = [
            [120, 96, 35, 141, 122, 103, 102, 105, 148],
            [142, 83, 96, 134, 102, 78, 201, 202, 157],
        ]
        .concat();
        assert_eq!(smaller.pixels(), expected);
    }
}
