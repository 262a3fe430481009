//! Training pairs for a latent verifier: the latents of unfinished candidates, and the scores that
//! their finished images got.
//!
//! A [`Collection`] draws independent samples of each prompt and writes them as safetensors shards
//! into a [`CollectionFolder`]. A run that was interrupted at any moment resumes from there.

mod folder;
mod prompts;
mod sample;
mod shard;

pub use folder::{CollectionFolder, SCHEMA, Settings};
pub use prompts::CaptionedPrompt;
pub use sample::{Collection, Sample};
pub use shard::LatentType;
