//! Released models without their weights, for plans.

use crate::{loading::Dtype, text::Classes};
use ttsvar_search::{Estimate, Scale, Workload};

/// A released model without its weights, set up by options: its sizes are known, so the cost of a
/// search is.
pub trait Outline: Send + Sync {
    /// The token grids, coarse to fine.
    fn scales(&self) -> Vec<Scale>;

    /// Branches of guidance that run at each scale.
    fn branches(&self) -> Vec<usize>;

    /// The classes that the model knows; `None` if it reads texts.
    fn classes(&self) -> Option<Classes> {
        None
    }

    /// True if the model has a text encoder, which may be evicted.
    fn has_text_encoder(&self) -> bool;

    /// The cost of a search, as [`ttsvar_search::Pipeline::estimate`] has it.
    fn estimate(&self, workload: &Workload, context: OutlineContext) -> Estimate;
}

/// What the cost of an outline depends on besides the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutlineContext {
    /// Rows that run through the network together; `None` for all.
    pub rows_at_once: Option<usize>,
    /// True if the text encoder is in memory only while a prompt is encoded.
    pub evict_text: bool,
    /// The type in which the text encoder's matrices are kept.
    pub text_dtype: Dtype,
    /// Bytes of other networks that stay in memory.
    pub resident: u64,
    /// Bytes of the largest network that is in memory only while images are scored.
    pub scoring: u64,
}
