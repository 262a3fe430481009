//! RGB images: resizing as Pillow does it, cropping, PNG files.

/// A picture of 8-bit RGB pixels, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// A picture from its bytes: red, green, blue of each pixel, row by row.
    ///
    /// # Panics
    /// When `pixels` is not `3 * width * height` long.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert_eq!(pixels.len(), 3 * width * height, "an RGB picture of {width} x {height}");
        Self { width, height, pixels }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Red, green, blue of each pixel, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}
