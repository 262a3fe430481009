//! FlexAR: a causal transformer that draws the tokens of FlexTok one after the other, from a text or
//! a class.
//!
//! Reference: EPFL-VILAB/search-over-tokens at commit e7564c5, `flextok_ar/model/`
//! (`preprocessors.py`, `text_encoder.py`, `attention.py`, `generation.py`); apple/ml-l3m at commit
//! e6376a3, `l3m/model/` (`trunks/`, `layers/{attention,ffn,normalization}.py`).

mod block;
mod config;
mod sizes;
mod transformer;

pub use config::{AttentionConfig, FlexArConfig, TextConfig};
pub use sizes::Sizes;
pub use transformer::{Condition, FlexAr, TokenRun};

use crate::nn::Signature;

/// Tensors of every checkpoint.
pub const SIGNATURE: Signature = Signature {
    layouts: &[&["models.ar_image_model.preprocessor.embedding.weight"]],
};

/// Tensors that a checkpoint may hold and that come from elsewhere.
pub const UNUSED: [&str; 2] = [
    "models.image_tokenizer.",
    "models.text_encoder.t5_embedder.",
];
