//! Image generators, one folder per model family. A [`Family`] answers questions that need no
//! weights, a [`Generator`] is a model with its files, a [`Pipeline`] a generator set up for a search.
//!
//! Outside of this module only the `match` in `system/loader.rs` names a family.
//! `docs/adding-a-generator.md` lists the steps for a new one.

mod codebook;
mod codes;
mod costs;
mod decoding;
mod edit;
pub mod flexar;
pub mod hart;
pub mod infinity;
mod normal;
mod outline;
mod prepared;
mod random;
mod rollout;
mod rows;
pub mod switti;
mod t5_text;
mod truncation;
pub mod var;

pub use codebook::{CodebookModel, CodebookNetworks, CodebookSettings};
pub use codes::{Drawn, Sampling, Smooth, code_mixture, draw_tokens};
pub use costs::Networks;
pub(crate) use costs::reading;
pub use edit::{Edit, EditedPart, Editor};
pub use outline::{Outline, OutlineContext};
pub use prepared::Prepared;
pub use random::{RandomArchitecture, RandomModel, architecture, architecture_names};
pub use rollout::ModelRollout;
pub use t5_text::{FixedText, T5Text, TextEncoder};
pub use truncation::truncate;

use std::sync::Arc;

use ttsvar_search::{Pipeline, Scale};

use crate::{
    Error, Result,
    hub::{Bundle, Description},
    loading::{Dtype, Evict, LoadReport, Loader},
    options::Options,
    text::Classes,
};

/// A family of generators, without weights.
pub trait Family: Sync {
    /// True if images are generated from a class, false if they are from a text.
    fn takes_classes(&self) -> bool;

    /// The classes that a model knows, by the headers of its files; `None` if it reads texts.
    ///
    /// # Errors
    /// A file is missing or damaged.
    fn classes(&self, _bundle: &Bundle) -> Result<Option<Classes>> {
        Ok(None)
    }

    /// The options of a caller, where unset with the model's `defaults`, otherwise with the released
    /// values of the family.
    ///
    /// # Errors
    /// The family does not support an option or its value.
    fn resolve(&self, options: Options, defaults: &Options) -> Result<Options>;

    /// A released model without its weights, set up by options that [`Family::resolve`] completed.
    ///
    /// # Errors
    /// The model does not support the aspect, the size or another option.
    fn outline(
        &self,
        description: &Description,
        options: &Options,
        dtype: Dtype,
    ) -> Result<Box<dyn Outline>>;

    /// What a user should know about these options of a model, if anything.
    fn advice(&self, description: &Description, options: &Options) -> Option<String>;

    /// Opens a model: only the headers of its files are read. If `resident`, networks that are needed
    /// only at times stay in memory.
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

/// A generator, whose networks are read at their first use.
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

    /// Encodes images of which a part is to be regenerated, if the generator can.
    fn editor(&self) -> Option<&dyn Editor> {
        None
    }

    /// Networks that always stay in memory, once they are read.
    fn networks(&self) -> Vec<&dyn Evict>;

    /// Bytes of an encoded prompt of usual length; 0 if it has no text encoder.
    fn prompt_bytes(&self) -> u64;

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
    /// A class.
    Class {
        /// The classes that the generator knows.
        classes: &'a Classes,
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

impl ImageSize {
    /// The only size of a model with a grid of (rows, columns) tokens of `token` pixels per side.
    fn single((rows, columns): (usize, usize), token: usize) -> Self {
        Self {
            width: columns * token,
            height: rows * token,
            pixels: None,
        }
    }
}

/// What a pipeline must know of the system around it.
#[derive(Clone, Debug, Default)]
pub struct PipelineContext {
    /// Rows that run through the network together; `None` for all. This affects memory and time,
    /// but no image.
    pub rows_at_once: Option<usize>,
    /// The block, counted from 1, whose output is the hidden state of a candidate's
    /// [`Latent`](ttsvar_search::Latent); `None` for none.
    pub hidden_block: Option<usize>,
    /// An image of which a part is regenerated. Only a generator with an [`Editor`] gets one.
    pub edit: Option<Arc<Edit>>,
    /// Bytes of other networks that stay in memory.
    pub resident: u64,
    /// Bytes that reading one of them takes at most beside all of them.
    pub reading: u64,
    /// True if prompts are encoded before other networks are read ([`Pipeline::prepare`]).
    pub encodes_first: bool,
    /// Bytes of prompts that wait, encoded, for their searches.
    pub prompts: u64,
    /// Bytes of the largest network that is in memory only while images are scored or their
    /// features computed.
    pub scoring: u64,
}

/// Token grids (rows, columns) as the scales of a search.
fn scales_of(grids: &[(usize, usize)]) -> Vec<Scale> {
    let scale = |&(height, width): &(usize, usize)| Scale { height, width };
    grids.iter().map(scale).collect()
}

/// Refuses an aspect or a size that a model with one image size does not have. `grid` is the token
/// grid of its last scale, `token` the number of pixels along one side of a token.
fn check_single_size(
    name: &str,
    (rows, columns): (usize, usize),
    token: usize,
    options: &Options,
) -> Result<()> {
    let ratio = rows as f64 / columns as f64;
    let other_aspect = options
        .aspect
        .as_ref()
        .is_some_and(|aspect| (aspect.ratio() - ratio).abs() > 1e-3);
    if !other_aspect && options.pixels.is_none() {
        return Ok(());
    }
    let ImageSize { width, height, .. } = ImageSize::single((rows, columns), token);
    Err(Error::input(format!(
        "`{name}` only generates images of {width} x {height} pixels"
    ))
    .with_hint("leave --aspect and --pixels out"))
}

/// The classes of a description, which must be the `count` of the transformer.
fn described_classes(description: &Description, count: usize) -> Result<Classes> {
    let Some(names) = &description.generator.classes else {
        return Ok(Classes::unnamed(count));
    };
    if names.len() != count {
        return Err(Error::input(format!(
            "`classes` of [generator] has {} names, but the transformer has {count} classes",
            names.len()
        ))
        .with_hint("give every class a name, or leave `classes` out"));
    }
    Classes::named(names)
}

/// Refuses options that a family does not have: each flag, and whether it is set.
fn refuse_options<const N: usize>(family: &str, flags: [(&str, bool); N]) -> Result<()> {
    match flags.into_iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::input(format!("{flag} is not an option of {family}"))
            .with_hint(format!("leave {flag} out"))),
    }
}

/// Refuses the options of a decoder that works in steps, for families with another one.
fn refuse_decoder_options(family: &str, options: &Options) -> Result<()> {
    refuse_options(
        family,
        [
            ("--decoder-steps", options.decoder_steps.is_some()),
            ("--preview-steps", options.preview_steps.is_some()),
            ("--decoder-cfg", options.decoder_cfg.is_some()),
            ("--as-released", options.as_released.is_some()),
        ],
    )
}

/// Returns whether candidates are to be steered to places.
fn steers(options: &Options) -> bool {
    options
        .steer
        .as_ref()
        .is_some_and(|steer| steer.options().is_some())
}

/// Checks the number, counted from 1, of a block whose output is wanted.
fn check_hidden_block(block: Option<usize>, depth: usize) -> Result<()> {
    match block {
        Some(found) if found == 0 || found > depth => Err(Error::input(format!(
            "hidden states of block {found}: the transformer has blocks 1 to {depth}"
        ))
        .with_hint("blocks a third to a half of the way up are a good choice")),
        _ => Ok(()),
    }
}
