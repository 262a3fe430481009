//! FlexTok (arXiv 2502.13967): a tokenizer that turns an image into one ordered sequence of tokens,
//! of which every prefix decodes to a whole image.
//!
//! An encoder with registers reads the latent of a VAE and returns one vector for each register; a
//! finite scalar quantizer makes a token of each. A rectified flow, conditioned on the tokens, turns
//! noise into a latent.
//!
//! Reference: apple/ml-flextok at commit 87d00cc, package `flextok`: `flextok_wrapper.py`,
//! `model/trunks/transformers.py`, `model/layers/{attention,mlp,transformer_blocks}.py`,
//! `model/preprocessors/`, `model/postprocessors/heads.py`, `regularizers/quantize_fsq.py`,
//! `flow_matching/{pipelines,cfg_utils}.py`.

mod block;
mod config;
mod decoder;
mod encoder;
mod flow;
mod fsq;
mod patches;
mod positions;
mod sizes;
mod time;

pub use config::{DecoderConfig, EncoderConfig, FlexTokConfig, TransformerConfig};
pub use decoder::FlowDecoder;
pub use encoder::Encoder;
pub use flow::{Apg, FlowGuidance, plain_guidance};
pub use fsq::Fsq;
pub use sizes::FlowSizes;
pub use time::sinusoid;

use candle_core::Tensor;

use crate::nn::Signature;

/// Tensors of every checkpoint.
pub const SIGNATURE: Signature = Signature {
    layouts: &[&[
        "vae.vae.decoder.conv_in.weight",
        "vae.vae.post_quant_conv.weight",
    ]],
};

/// The place of the VAE in a checkpoint.
pub const VAE: &str = "vae.vae";

/// Tensors that generation leaves alone. A checkpoint may hold more, which serve the training.
pub const UNUSED: [&str; 3] = ["encoder.", "vae.vae.encoder.", "vae.vae.quant_conv."];

/// Receives the output of a part of the network by its name: of a block with its number.
pub type Watch<'a> = dyn FnMut(&str, Option<usize>, &Tensor) + 'a;
