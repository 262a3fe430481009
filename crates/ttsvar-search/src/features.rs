//! Images as rows of numbers, for clustering.

use serde::{Deserialize, Serialize};

use crate::{Image, Result};

/// Rows of numbers, one row an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

impl Matrix {
    /// `data` holds `rows` rows of `cols` numbers, one after the other.
    ///
    /// # Panics
    /// When `data` has another length.
    pub fn new(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix of {rows} x {cols}");
        Self { rows, cols, data }
    }

    /// Number of images.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers per image.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The numbers of image `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }
}

/// How patch features become one row of numbers (paper, appendix on feature extraction, and its
/// names in plan files).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// Patches projected on the image's own first principal direction, its sign made canonical.
    Pca,
    /// The same with the sign that the decomposition happens to return, as the released program has
    /// it.
    PcaRaw,
    /// Patches projected on the first principal direction of all images together.
    PcaAll,
    /// The mean over the patches.
    Pool,
}

/// Something that describes images by numbers.
pub trait Extractor: Send + Sync {
    /// One row for each image, in their order.
    fn extract(&self, images: &[Image]) -> Result<Matrix>;

    /// Floating-point operations that `images` images take; 0 where nobody counted.
    fn flops(&self, images: usize) -> f64 {
        let _ = images;
        0.0
    }
}
