//! Features of images as rows of numbers, for clustering.

use serde::{Deserialize, Serialize};

use crate::{Image, Latent, Result};

/// A matrix of features with one row per image.
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

/// The kinds of features, under their names in plan files. All but [`Features::Latent`] turn patch
/// features of images into one row of numbers (paper, appendix on feature extraction).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// Patches projected onto the first principal component of the image, with a canonical sign.
    Pca,
    /// The same with the sign that the decomposition happens to return, as in the released program.
    PcaRaw,
    /// Patches projected onto the first principal component of all images together.
    PcaAll,
    /// The mean over the patches.
    Pool,
    /// The latent itself: nothing is decoded and no network is needed.
    Latent,
}

impl From<Vec<Latent>> for Matrix {
    /// One row of numbers for each of several latents of the same shape.
    fn from(latents: Vec<Latent>) -> Self {
        let rows = latents.len();
        let cols = latents.first().map_or(0, |latent| latent.map.values.len());
        let values = latents.into_iter().flat_map(|latent| latent.map.values);
        Self::new(rows, cols, values.collect())
    }
}

/// Computes features of images.
pub trait Extractor: Send + Sync {
    /// One row for each image, in their order.
    fn extract(&self, images: &[Image]) -> Result<Matrix>;

    /// Floating-point operations for `images` images; 0 where unknown.
    fn flops(&self, images: usize) -> f64 {
        let _ = images;
        0.0
    }
}
