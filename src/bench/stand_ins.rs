//! A scorer and features at negligible cost, so that only generator and search are measured. They
//! are the same as in `benches/peers/torch_infinity.py`.

use ttsvar_search::{Extractor, Image, Matrix, Scorer};

use crate::image::{Filter, Resize};

/// The difference of red and blue in an image.
pub struct Redness;

impl Scorer for Redness {
    fn score(&self, _prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let score = |image: &Image| {
            let mut red = 0u64;
            let mut blue = 0u64;
            for pixel in image.pixels().chunks_exact(3) {
                red += u64::from(pixel[0]);
                blue += u64::from(pixel[2]);
            }
            (red as f64 - blue as f64) as f32 / (255 * image.width() * image.height()) as f32
        };
        Ok(images.iter().map(score).collect())
    }

    fn flops(&self, _images: usize) -> f64 {
        0.0
    }
}

/// Colours of squares of 14 x 14 pixels of the image at 224 x 224.
pub struct Blocks;

const SIDE: usize = 224;
const SQUARE: usize = 14;

impl Extractor for Blocks {
    fn extract(&self, images: &[Image]) -> ttsvar_search::Result<Matrix> {
        let squares = SIDE / SQUARE;
        let cols = 3 * squares * squares;
        let mut data = vec![0.0; images.len() * cols];
        for (image, row) in images.iter().zip(data.chunks_exact_mut(cols)) {
            let image = image.resize(SIDE, SIDE, Filter::Bilinear);
            for (i, pixel) in image.pixels().chunks_exact(3).enumerate() {
                let square = i / SIDE / SQUARE * squares + i % SIDE / SQUARE;
                for (channel, value) in pixel.iter().enumerate() {
                    row[channel * squares * squares + square] +=
                        f32::from(*value) / (255.0 * (SQUARE * SQUARE) as f32);
                }
            }
        }
        Ok(Matrix::new(images.len(), cols, data))
    }

    fn flops(&self, _images: usize) -> f64 {
        0.0
    }
}
