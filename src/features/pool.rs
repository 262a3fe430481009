//! The mean over the patches of an image (ali-vilab/TTS-VAR at commit b0332bb,
//! `tts-var/utils_model.py`, lines 537-542).

use ttsvar_search::Matrix;

use super::Patches;

/// One row per image: (images, dim).
pub fn pool(patches: &Patches) -> Matrix {
    let rows = (0..patches.images())
        .flat_map(|i| mean(patches.image(i), patches.dim()))
        .collect();
    Matrix::new(patches.images(), patches.dim(), rows)
}

fn mean(image: &[f32], dim: usize) -> Vec<f32> {
    let mut sum = vec![0f64; dim];
    for patch in image.chunks(dim) {
        sum.iter_mut()
            .zip(patch)
            .for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let count = (image.len() / dim) as f64;
    sum.into_iter().map(|sum| (sum / count) as f32).collect()
}
