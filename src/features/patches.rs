//! Patch features of images, and their reduction to one row of numbers per image.

use ttsvar_search::{Features, Matrix};

use super::{pca, pool};

/// Patch features of images: (images, patches, dim), one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    images: usize,
    patches: usize,
    dim: usize,
    data: Vec<f32>,
}

impl Patches {
    /// `data` holds, image by image and patch by patch, `dim` numbers.
    ///
    /// # Panics
    /// When `data` has another length, or there are no patches or no numbers in a patch.
    pub fn new(images: usize, patches: usize, dim: usize, data: Vec<f32>) -> Self {
        assert_eq!(
            data.len(),
            images * patches * dim,
            "patches of {images} x {patches} x {dim}"
        );
        assert!(
            patches > 0 && dim > 0,
            "patches of {images} x {patches} x {dim}"
        );
        Self {
            images,
            patches,
            dim,
            data,
        }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Patches per image.
    pub fn patches(&self) -> usize {
        self.patches
    }

    /// Numbers per patch.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The patches of image `i`: (patches, dim).
    pub fn image(&self, i: usize) -> &[f32] {
        let size = self.patches * self.dim;
        &self.data[i * size..(i + 1) * size]
    }

    /// The patches of all images: (images * patches, dim).
    pub fn all(&self) -> &[f32] {
        &self.data
    }
}

/// Reduces patches to one row per image: (images, patches) for the projections, (images, dim) for
/// the mean.
pub fn reduce(kind: Features, patches: &Patches) -> Matrix {
    match kind {
        Features::Pca => pca::canonical(&pca::per_image(patches)),
        Features::PcaRaw => pca::per_image(patches),
        Features::PcaAll => pca::across_images(patches),
        Features::Pool => pool::pool(patches),
    }
}
