//! Names to files to tensors: which files a model is made of, and how every kind of weight file is
//! opened.
//!
//! [`checkpoint::open`] turns any file or folder into a [`TensorSource`], [`bundle`] describes a
//! whole system in one `bundle.toml`, [`catalog`] knows the released downloads. Nothing here knows
//! how a model computes.

pub mod blob;
pub mod bundle;
pub mod cache;
pub mod catalog;
pub mod checkpoint;
#[cfg(feature = "fetch")]
mod client;
pub mod description;
#[cfg(feature = "fetch")]
pub mod fetch;
mod gguf_file;
pub mod gguf_writer;
mod legacy_torch_file;
mod numbers;
pub mod pickle;
pub mod place;
pub mod released;
mod safetensors_file;
pub mod scorer;
pub mod settings;
mod sharded;
pub mod state_dict;
mod tensor_table;
mod torch_file;
mod view;

pub use blob::{Blob, Embedded, Folder, Location};
pub use bundle::{Bundle, Convertible};
pub use checkpoint::open;
pub use description::Description;
pub use gguf_file::GgufFile;
pub use legacy_torch_file::LegacyTorchFile;
pub use safetensors_file::{SafetensorsFile, safetensors_metadata};
pub use scorer::{BuiltIn, ScorerFiles, ScorerRelease};
pub use sharded::Sharded;
pub use state_dict::Wanted;
pub use torch_file::TorchFile;

use crate::{Error, LoadError, nn::TensorSource};

/// The error for a tensor name that a source does not have.
fn absent(source: &dyn TensorSource, name: &str) -> Error {
    Error::from(LoadError::Missing {
        origin: source.origin(),
        tensor: name.to_owned(),
        expected: format!("one of the {} tensors of the file", source.names().len()),
    })
}

/// The error for a tensor of a type or kind that no network reads.
fn unreadable(source: &dyn TensorSource, name: &str, kind: &str) -> Error {
    Error::from(LoadError::Tensor {
        origin: source.origin(),
        tensor: name.to_owned(),
        expected: "a supported data type".into(),
        found: kind.to_owned(),
    })
}
