//! CLIP-Score: how near a picture lies to its prompt in the space of a CLIP. Three definitions are
//! in use, and numbers of one cannot be compared with those of another.

use std::sync::Arc;

use ttsvar_search::{Image, Scorer};

use crate::features::ClipSpace;

/// What is made of the cosine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Definition {
    /// The cosine itself (T2I-CompBench, ImageReward's `CLIPScore`).
    #[default]
    Cosine,
    /// 100 times the cosine, at least 0 (torchmetrics).
    Percent,
    /// 2.5 times the cosine, at least 0 (Hessel et al., arXiv 2104.08718).
    Hessel,
}

impl Definition {
    /// The score for a cosine.
    pub fn of(self, cosine: f32) -> f32 {
        match self {
            Self::Cosine => cosine,
            Self::Percent => at_least_0(100.0 * cosine),
            Self::Hessel => at_least_0(2.5 * cosine),
        }
    }
}

/// NaN stays NaN.
fn at_least_0(score: f32) -> f32 {
    if score < 0.0 { 0.0 } else { score }
}

/// The scorer.
pub struct ClipScore {
    space: Arc<ClipSpace>,
    definition: Definition,
}

impl ClipScore {
    /// Scores by this definition; several scorers may share a space.
    pub fn new(space: Arc<ClipSpace>, definition: Definition) -> Self {
        Self { space, definition }
    }
}

impl Scorer for ClipScore {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let cosines = self.space.cosines(prompt, images)?;
        Ok(cosines
            .into_iter()
            .map(|cosine| self.definition.of(cosine))
            .collect())
    }

    fn flops(&self, images: usize) -> f64 {
        self.space.flops(images)
    }
}

#[cfg(test)]
mod tests {
    use super::Definition::{Cosine, Hessel, Percent};

    #[test]
    fn definitions_differ_in_factor_and_floor() {
        assert_eq!(
            [Cosine, Percent, Hessel].map(|definition| definition.of(0.5)),
            [0.5, 50.0, 1.25]
        );
        assert_eq!(
            [Cosine, Percent, Hessel].map(|definition| definition.of(-0.5)),
            [-0.5, 0.0, 0.0]
        );
        assert!(
            [Cosine, Percent, Hessel]
                .iter()
                .all(|definition| definition.of(f32::NAN).is_nan())
        );
    }
}
