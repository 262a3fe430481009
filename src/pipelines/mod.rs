//! Image generators, one folder per model family. A [`Family`] answers questions that need no
//! weights, a [`Generator`] is a loaded model, a [`Pipeline`] a generator set up for a search.
//!
//! Outside of this module only the `match` in `system/loader.rs` names a family.
//! `docs/adding-a-generator.md` lists the steps for a new one.

pub mod infinity;

pub use infinity::random::{ARCHITECTURES, Architecture, RandomModel, Timed, time_ops};
pub use infinity::{Outline, OutlineMemory};
use ttsvar_search::{Pipeline, Scale};

use crate::{
    Result,
    hub::{Bundle, Description},
    loading::{Evict, LoadReport, Loader},
    options::Options,
};

/// A family of generators, without weights.
pub trait Family: Sync {
    /// Fills unset options with the released values of the family.
    ///
    /// # Errors
    /// The family does not support an option or its value.
    fn resolve(&self, options: Options) -> Result<Options>;

    /// The token grids of an image, coarse to fine.
    ///
    /// # Errors
    /// The model does not support the aspect or the size.
    fn scales(&self, description: &Description, options: &Options) -> Result<Vec<Scale>>;

    /// What a user should know about these options of a model, if anything.
    fn advice(&self, description: &Description, options: &Options) -> Option<String>;

    /// Loads a model. If `resident`, networks that are needed only at times stay in memory.
    ///
    /// # Errors
    /// A file is missing or damaged, or the parts do not fit together.
    fn load(
        &self,
        bundle: &Bundle,
        loader: &Loader,
        resident: bool,
        report: &mut LoadReport,
    ) -> Result<Box<dyn Generator>>;
}

/// A loaded generator.
pub trait Generator: Send + Sync {
    /// The input from which images are generated.
    fn conditioning(&self) -> Conditioning<'_>;

    /// Every image size that it supports.
    fn image_sizes(&self) -> Vec<ImageSize>;

    /// The generator set up by options that [`Family::resolve`] completed.
    ///
    /// # Errors
    /// The model does not support the aspect, the size or another option.
    fn pipeline(
        &self,
        options: &Options,
        context: PipelineContext,
    ) -> Result<Box<dyn Pipeline + '_>>;

    /// Bytes of the networks that always stay in memory.
    fn bytes(&self) -> u64;

    /// Networks that may be evicted between their uses, such as the text encoder.
    fn evictable(&self) -> Vec<&dyn Evict>;
}

/// The input from which images are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditioning<'a> {
    /// A text.
    Text {
        /// The only words that the generator knows; `None` if it takes any.
        words: Option<&'a [String]>,
    },
}

/// An image size of a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The value of the option `pixels`; `None` if the model has a single size.
    pub pixels: Option<String>,
}

/// What a pipeline must know of the system around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelineContext {
    /// Rows that run through the network together; `None` for all. This affects memory and time,
    /// but no image.
    pub rows_at_once: Option<usize>,
    /// The block, counted from 1, whose output is the hidden state of a candidate's
    /// [`Latent`](ttsvar_search::Latent); `None` for none.
    pub hidden_block: Option<usize>,
    /// Bytes of other networks that stay in memory.
    pub resident: u64,
    /// Bytes of the largest network that is in memory only while images are scored or their
    /// features computed.
    pub scoring: u64,
}
