//! The crop condition: four integers that say which part of a training image was shown.

use std::f32::consts::PI;

use candle_core::{Device, Tensor};

use crate::{Result, nn::Weights};

/// Short side of training images, in pixels.
const SIDE: usize = 512;

/// The crop condition of a training image of this size: its height and width after its short side
/// is scaled to 512, then the offsets of a square cut out of its middle, top and left.
pub fn crop_of(height: usize, width: usize) -> [usize; 4] {
    let short = height.min(width).max(1);
    let scaled = |side: usize| side * SIDE / short;
    let offset = |side: usize| scaled(side).saturating_sub(SIDE) / 2;
    [scaled(height), scaled(width), offset(height), offset(width)]
}

/// Sines and cosines of the numbers.
#[derive(Clone, Debug)]
pub struct CropEmbedding {
    frequencies: Vec<f32>,
}

impl CropEmbedding {
    /// `weight` below `w`, for vectors of `width` values in all.
    pub(super) fn load(w: &Weights, width: usize) -> Result<Self> {
        let weight = w.exact().get(width / 8, "weight")?;
        Ok(Self {
            frequencies: weight.to_vec1()?,
        })
    }

    /// The vector of a crop condition, (1, C): of each number all sines, then all cosines.
    ///
    /// Angles reach thousands of radians, so the order of the multiplications matters: it is that
    /// of the original in f32. In bf16, in which the original samples, the vector would be another
    /// one altogether.
    pub fn embed(&self, crop: [usize; 4]) -> Result<Tensor> {
        let mut values = Vec::with_capacity(8 * self.frequencies.len());
        for number in crop {
            let angle = |frequency: &f32| number as f32 * frequency * 2.0 * PI;
            let angles = self.frequencies.iter().map(angle);
            values.extend(angles.clone().map(f32::sin));
            values.extend(angles.map(f32::cos));
        }
        let width = values.len();
        Ok(Tensor::from_vec(values, (1, width), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_side_is_scaled_and_the_middle_is_cut_out() {
        assert_eq!(crop_of(512, 512), [512, 512, 0, 0]);
        assert_eq!(crop_of(1024, 1024), [512, 512, 0, 0]);
        assert_eq!(crop_of(600, 900), [512, 768, 0, 128]);
        assert_eq!(crop_of(0, 0), [0, 0, 0, 0]);
    }
}
