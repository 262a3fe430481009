//! Verifiers: what the score of an unfinished candidate is computed from.

use serde::{Deserialize, Serialize};

use crate::{Latent, Result};

/// What a stage scores, under its name in plan files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verifier {
    /// The decoded image, by the scorers of the search.
    #[default]
    Image,
    /// The latent, by the [`LatentVerifier`] of the search. Nothing is decoded.
    Latent,
}

impl Verifier {
    /// For serde: whether this is the default.
    pub(crate) fn is_image(&self) -> bool {
        *self == Self::Image
    }
}

/// Predicts the final score of candidates that are not finished from their latents.
///
/// Predictions are on the scale of the scorer that [`LatentVerifier::predicts`] names, so that
/// thresholds keep their meaning.
pub trait LatentVerifier: Send + Sync {
    /// The name of the scorer whose final score it predicts.
    fn predicts(&self) -> &str;

    /// The scales after which it was trained to predict. Elsewhere a search warns.
    fn scales(&self) -> &[usize];

    /// One prediction for each latent, in their order, after `scale`.
    ///
    /// # Errors
    /// The latents have the wrong shape, or computing fails.
    fn predict(&self, prompt: &str, scale: usize, latents: &[Latent]) -> Result<Vec<f32>>;

    /// Floating-point operations for `candidates` predictions; 0 where unknown.
    fn flops(&self, candidates: usize) -> f64 {
        let _ = candidates;
        0.0
    }
}
