//! Convolutional encoder and decoder between images and latents, which the tokenizers of several
//! generators share: those of VAR with attention at the coarsest resolution, those of Infinity
//! without.
//!
//! Reference: FoundationVision/Infinity at commit 4c27bbb, `infinity/models/bsq_vae/flux_vqgan.py`,
//! lines 19-388, and `conv.py`, lines 7-70; FoundationVision/VAR, `models/basic_vae.py`.

mod decoder;
mod encoder;
mod layers;
mod sizes;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub(super) use layers::conv;
pub use sizes::DecoderSizes;

/// The residual blocks that attention follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// None.
    None,
    /// Those of the coarsest resolution, and the first of the two in the middle.
    Coarsest,
}

impl Attention {
    /// The same for level `i` of a network with `levels` levels, of which the last is the coarsest.
    fn at(self, i: usize, levels: usize) -> Self {
        match i + 1 == levels {
            true => self,
            false => Self::None,
        }
    }
}
