//! 8-bit RGB images.

/// An image of 8-bit RGB pixels, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// An image from its bytes: red, green, blue of each pixel, row by row.
    ///
    /// # Panics
    /// When `pixels` is not `3 * width * height` long.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert_eq!(
            pixels.len(),
            3 * width * height,
            "an RGB image of {width} x {height}"
        );
        Self {
            width,
            height,
            pixels,
        }
    }

    /// An image from the output of a decoder: the red plane, then green, then blue, each row by
    /// row, with values in -1..=1.
    ///
    /// Values outside of this range are clamped, NaN becomes 0, and `(x + 1) / 2 * 255` is
    /// truncated, not rounded, as in the released Infinity program.
    ///
    /// # Panics
    /// When `planes` is not `3 * width * height` long.
    pub fn from_chw(width: usize, height: usize, planes: &[f32]) -> Self {
        let area = width * height;
        assert_eq!(planes.len(), 3 * area, "three planes of {width} x {height}");
        let mut pixels = vec![0; 3 * area];
        for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = ((planes[channel * area + i].clamp(-1.0, 1.0) + 1.0) / 2.0 * 255.0) as u8;
            }
        }
        Self {
            width,
            height,
            pixels,
        }
    }

    /// The input of a network: three planes, each row by row, with `(value / 255 - mean) / std` per
    /// channel.
    pub fn to_chw(&self, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
        let mut planes = Vec::with_capacity(self.pixels.len());
        for channel in 0..3 {
            let values = self.pixels[channel..].iter().step_by(3);
            planes.extend(
                values.map(|&value| (f32::from(value) / 255.0 - mean[channel]) / std[channel]),
            );
        }
        planes
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Red, green, blue of each pixel, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The part whose upper left corner is `left` pixels from the left edge and `top` pixels from
    /// the top edge.
    ///
    /// # Panics
    /// When the part reaches beyond the image.
    pub fn crop(&self, left: usize, top: usize, width: usize, height: usize) -> Self {
        assert!(
            left + width <= self.width && top + height <= self.height,
            "a crop must lie inside the image"
        );
        let rows = self
            .pixels
            .chunks_exact(3 * self.width.max(1))
            .skip(top)
            .take(height);
        let pixels = rows
            .flat_map(|row| &row[3 * left..3 * (left + width)])
            .copied()
            .collect();
        Self {
            width,
            height,
            pixels,
        }
    }

    /// The part in the middle. An odd number of surplus pixels is split by rounding half to even,
    /// as in torchvision's `CenterCrop`: of 5 surplus pixels 2 are cut on the left, of 3 also 2.
    ///
    /// # Panics
    /// When the image is smaller than the part.
    pub fn center_crop(&self, width: usize, height: usize) -> Self {
        assert!(
            width <= self.width && height <= self.height,
            "a crop must lie inside the image"
        );
        self.crop(
            half_to_even(self.width - width),
            half_to_even(self.height - height),
            width,
            height,
        )
    }
}

/// Half of `n`, rounded half to even: the offset of torchvision's centre crop.
pub fn half_to_even(n: usize) -> usize {
    n / 2 + usize::from(n % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image whose pixels hold their coordinates.
    fn numbered(width: usize, height: usize) -> Image {
        let pixels = (0..width * height)
            .flat_map(|i| [(i % width) as u8, (i / width) as u8, 7])
            .collect();
        Image::new(width, height, pixels)
    }

    #[test]
    fn decoder_values_are_clamped_and_truncated() {
        let planes = [-2.0, -1.0, 0.0, 0.999, 1.0, f32::NAN];
        let image = Image::from_chw(2, 1, &planes);
        assert_eq!(image.pixels(), [0, 127, 255, 0, 254, 0]);
    }

    #[test]
    fn network_values_are_planes() {
        let image = Image::new(2, 1, vec![0, 51, 255, 255, 51, 0]);
        assert_eq!(
            image.to_chw([0.0, 0.2, 0.0], [1.0, 1.0, 0.5]),
            [0.0, 1.0, 0.0, 0.0, 2.0, 0.0]
        );
    }

    #[test]
    fn crops_keep_the_right_pixels() {
        let crop = numbered(7, 5).crop(2, 1, 3, 2);
        assert_eq!((crop.width(), crop.height()), (3, 2));
        assert_eq!(crop.pixels()[..3], [2, 1, 7]);
        assert_eq!(crop.pixels()[15..], [4, 2, 7]);
    }

    #[test]
    fn centre_crops_round_half_to_even() {
        let offsets: Vec<_> = (0..8).map(half_to_even).collect();
        assert_eq!(offsets, [0, 0, 1, 2, 2, 2, 3, 4]);
        assert_eq!(numbered(9, 7).center_crop(4, 4).pixels()[..2], [2, 2]);
    }
}
