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

/// The ways to reduce patches to one row of numbers per image (paper, appendix on feature
/// extraction).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchReduction {
    /// [`Features::Pca`].
    Pca,
    /// [`Features::PcaRaw`].
    PcaRaw,
    /// [`Features::PcaAll`].
    PcaAll,
    /// [`Features::Pool`].
    Pool,
}

impl PatchReduction {
    /// Every one with the kind of features that it makes.
    pub const ALL: [(Self, Features); 4] = [
        (Self::Pca, Features::Pca),
        (Self::PcaRaw, Features::PcaRaw),
        (Self::PcaAll, Features::PcaAll),
        (Self::Pool, Features::Pool),
    ];
}

/// Reduces patches to one row per image: (images, patches) for the projections, (images, dim) for
/// the mean.
pub fn reduce(reduction: PatchReduction, patches: &Patches) -> Matrix {
    match reduction {
        PatchReduction::Pca => pca::canonical(&pca::per_image(patches)),
        PatchReduction::PcaRaw => pca::per_image(patches),
        PatchReduction::PcaAll => pca::across_images(patches),
        PatchReduction::Pool => pool::pool(patches),
    }
}
