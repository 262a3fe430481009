//! The interface of a generator to the search: from a prompt to images, one scale at a time.

use std::ops::Range;

use crate::{Image, Latent, Result, steering::Steering, tokens::TokenStatistics, warning::Warning};

/// The token grid of one scale; scales count from 0, coarse to fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Rows of tokens.
    pub height: usize,
    /// Columns of tokens.
    pub width: usize,
}

impl Scale {
    /// A grid of `side` by `side` tokens.
    pub const fn square(side: usize) -> Self {
        Self {
            height: side,
            width: side,
        }
    }

    /// Rows and columns of tokens.
    pub fn grid(self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Tokens that one candidate draws at this scale.
    pub fn tokens(self) -> usize {
        self.height * self.width
    }
}

/// The wanted image, and what it should not contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The description of the wanted image.
    pub text: String,
    /// Replaces the learned unconditional text in guidance.
    pub negative: Option<String>,
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            negative: None,
        }
    }
}

/// The size of a decoded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeSize {
    /// The full size of the model.
    Full,
    /// About this many pixels along the shorter side, never more than the full size.
    Preview(usize),
}

/// What a search will at most compute, for estimates. Lists have one number per scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Rows that are computed.
    pub widths: Vec<usize>,
    /// Rows that wait after this scale to be resumed, with their keys and values.
    pub suspended: Vec<usize>,
    /// Images that are decoded.
    pub decodes: Vec<usize>,
    /// The size of images that are decoded before the last scale.
    pub size: DecodeSize,
}

impl Workload {
    /// The most rows at any scale, at least 1.
    pub fn widest(&self) -> usize {
        self.widths.iter().copied().max().unwrap_or(1).max(1)
    }

    /// Raises every number to the one of another workload for as many scales, where that is
    /// larger.
    pub fn raise(&mut self, other: &Self) {
        let pairs = [
            (&mut self.widths, &other.widths),
            (&mut self.suspended, &other.suspended),
            (&mut self.decodes, &other.decodes),
        ];
        for (numbers, others) in pairs {
            for (number, other) in numbers.iter_mut().zip(others) {
                *number = (*number).max(*other);
            }
        }
    }
}

/// The expected cost of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Floating-point operations, 2 for each multiply-add, of text encoder, transformer and
    /// decoder.
    pub flops: f64,
    /// Bytes at the peak: weights, K/V cache, activations.
    pub peak_bytes: u64,
}

/// A generator that is loaded and set up.
pub trait Pipeline: Send + Sync {
    /// The token grids of every candidate, coarse to fine.
    fn scales(&self) -> &[Scale];

    /// Height and width in pixels of a full image.
    fn image_size(&self) -> (usize, usize);

    /// Warnings about a prompt: it is cut, or has words that the generator does not know.
    ///
    /// # Errors
    /// The prompt cannot be split into tokens.
    fn prompt_warnings(&self, prompt: &Prompt) -> Result<Vec<Warning>> {
        let _ = prompt;
        Ok(vec![])
    }

    /// How the candidates of a prompt are steered; none if the generator was not asked to steer.
    ///
    /// # Errors
    /// The wanted layout does not fit the prompt or the model.
    fn steering(&self, prompt: &Prompt) -> Result<Option<Steering>> {
        let _ = prompt;
        Ok(None)
    }

    /// Encodes prompts that will be begun, if that saves memory: a generator whose text encoder does
    /// not stay in memory needs it once for all of them, before anything else is read. Prompts that
    /// were prepared before and are not among these may be forgotten.
    ///
    /// # Errors
    /// A prompt cannot be encoded.
    fn prepare(&self, prompts: &[Prompt]) -> Result<()> {
        let _ = prompts;
        Ok(())
    }

    /// Starts candidates of one prompt, one for each number in `rows`. Candidate `i` draws from the
    /// stream of (`seed`, lineage `i`), independent of the other candidates.
    fn begin(
        &self,
        prompt: &Prompt,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<Box<dyn Rollout + '_>>;

    /// Branches of guidance that run at a scale: 1 without guidance.
    fn branches(&self, scale: usize) -> usize {
        let _ = scale;
        1
    }

    /// The expected cost of a search for a prompt of usual length.
    fn estimate(&self, workload: &Workload) -> Estimate {
        let _ = workload;
        Estimate::default()
    }
}

/// How often the network was run for one scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// Distinct states that it was run on, at most one per row.
    pub states: usize,
    /// Passes: one per state and branch of guidance that ran.
    pub passes: usize,
}

impl StepCounts {
    /// One pass for each of `states` states, without guidance.
    pub fn unguided(states: usize) -> Self {
        Self {
            states,
            passes: states,
        }
    }
}

/// Partial images of one prompt that advance together. Row `i` is one candidate.
pub trait Rollout: Send {
    /// The present number of candidates.
    fn rows(&self) -> usize;

    /// Draws the next scale of every row.
    fn step(&mut self) -> Result<StepCounts>;

    /// Statistics of the tokens that the latest [`Rollout::step`] drew, one per row; empty if the
    /// generator was not asked for them, or does not have them.
    fn token_statistics(&self) -> Vec<TokenStatistics> {
        vec![]
    }

    /// The layout of each row, as an index into [`Steering::layouts`]; empty if no row has one.
    fn layouts(&self) -> Vec<Option<usize>> {
        vec![]
    }

    /// Decodes the present images of the given rows, in that order.
    fn images(&self, rows: &[usize], size: DecodeSize) -> Result<Vec<Image>>;

    /// The present latents of the given rows, in that order: what the decoder would turn into
    /// their images, and hidden states if the generator was asked for them. All have the same
    /// shape. Nothing is computed.
    fn latents(&self, rows: &[usize]) -> Result<Vec<Latent>>;

    /// Replaces row `i` by the previous row `rows[i]`. Rows may be repeated or left out. The first
    /// copy of a row keeps its random stream, each further copy gets a new one.
    fn gather(&mut self, rows: &[usize]) -> Result<()>;

    /// A rollout of its own with the given rows, each at most once. They keep their random streams,
    /// so they end in the same images as they would have here. Its operations count from 0.
    fn fork<'r>(&self, rows: &[usize]) -> Result<Box<dyn Rollout + 'r>>
    where
        Self: 'r;

    /// Floating-point operations spent so far, decodes included.
    fn flops(&self) -> f64 {
        0.0
    }
}
