//! Generators of images, one folder per model family: [`Family`] is what is known before weights
//! are loaded, [`Generator`] a loaded model, [`Pipeline`] a generator set up for a search.
//!
//! Nothing above this module names a family, except for the `match` in `system/loader.rs`.
//! `docs/adding-a-generator.md` lists the steps for a new one.

pub mod infinity;

pub use infinity::random::{ARCHITECTURES, Architecture, RandomModel, Timed, time_ops};
use ttsvar_search::{Pipeline, Scale};

use crate::{
    Result,
    hub::{Bundle, Description},
    loading::{Evict, LoadReport, Loader},
    options::Options,
};

/// A family of generators, without weights.
pub trait Family: Sync {
    /// Fills unset options with what the family was released with.
    ///
    /// # Errors
    /// An option is set that the family does not have, or to a value that it does not have.
    fn resolve(&self, options: Options) -> Result<Options>;

    /// The token grids of an image, coarse to fine.
    ///
    /// # Errors
    /// The model has no images of that aspect or size.
    fn scales(&self, description: &Description, options: &Options) -> Result<Vec<Scale>>;

    /// Loads a model. Networks that are needed only at times stay in memory if `resident`.
    ///
    /// # Errors
    /// A file is missing or damaged, or the parts do not belong together.
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
    /// What images are generated from.
    fn conditioning(&self) -> Conditioning<'_>;

    /// Every size of image that it generates.
    fn image_sizes(&self) -> Vec<ImageSize>;

    /// The generator set up as options say that [`Family::resolve`] completed.
    ///
    /// # Errors
    /// The model has no images of that aspect or size, or another option does not fit it.
    fn pipeline(&self, options: &Options, memory: MemoryContext) -> Result<Box<dyn Pipeline + '_>>;

    /// Bytes of the networks that always stay in memory.
    fn bytes(&self) -> u64;

    /// Networks that may leave the memory between their uses, such as the text encoder.
    fn evictable(&self) -> Vec<&dyn Evict>;
}

/// What images are generated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditioning<'a> {
    /// A text.
    Text {
        /// The only words that the generator knows; `None` where it takes any.
        words: Option<&'a [String]>,
    },
}

/// A size of image that a generator has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Its value of the option `pixels`; `None` where the model has one size only.
    pub pixels: Option<String>,
}

/// The memory around a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryContext {
    /// Rows that run through the network together; `None` for all. Changes memory and time, never
    /// an image.
    pub rows_at_once: Option<usize>,
    /// Bytes of other networks that stay in memory.
    pub resident: u64,
    /// Bytes of the largest network that is in memory only while images are scored or described.
    pub scoring: u64,
}
