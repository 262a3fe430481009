//! Convolutional encoder and decoder between images and latents, which the tokenizers of several
//! generators share: those of VAR with attention at the coarsest resolution, those of Infinity
//! without, that of FlexTok with attention in the middle.
//!
//! Reference: FoundationVision/Infinity at commit 4c27bbb, `infinity/models/bsq_vae/flux_vqgan.py`,
//! lines 19-388, and `conv.py`, lines 7-70; FoundationVision/VAR, `models/basic_vae.py`.

mod decoder;
mod encoder;
mod layers;
mod sizes;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use layers::Part;
pub(super) use layers::conv;
pub use sizes::DecoderSizes;

/// The residual blocks that attention follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// None.
    None,
    /// Those of the coarsest resolution, and the first of the two in the middle.
    Coarsest,
    /// The first of the two in the middle.
    Middle,
}

impl Attention {
    /// The same for level `i` of a network with `levels` levels, of which the last is the coarsest.
    fn at(self, i: usize, levels: usize) -> Self {
        match self {
            Self::Coarsest if i + 1 == levels => self,
            _ => Self::None,
        }
    }
}

/// What the tensors of a network do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The blocks that have attention.
    pub attention: Attention,
    /// Groups of channels that are normalised together; if `None`, 32 or 24, whichever divides the
    /// channels.
    pub groups: Option<usize>,
}

impl From<Attention> for Layout {
    fn from(attention: Attention) -> Self {
        Self {
            attention,
            groups: None,
        }
    }
}
