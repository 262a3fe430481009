//! What can go wrong, said so that it can be put right: what was expected, what came, where, and a
//! hint.

use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. Its text is one line; the remedy, where one is known, is apart in
/// [`Error::hint`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that the caller asked for cannot be done as asked: an option, a prompt, a plan.
    #[error("{message}")]
    Input {
        /// What was expected and what came.
        message: String,
        /// How to put it right.
        hint: Option<String>,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what came.
        message: String,
        /// How to put it right.
        hint: Option<String>,
    },
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor of a weight file is missing or of the wrong shape or type.
    #[error("{origin}: tensor `{tensor}`: expected {expected}, found {found}")]
    Tensor {
        /// The file that the tensor should have come from.
        origin: String,
        /// Its full name in that file.
        tensor: String,
        /// Shape or type that the model needs.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The tensor library failed: a bug of this program, or not enough memory.
    #[error("tensor library: {0}")]
    Compute(#[from] candle_core::Error),
    /// Code that the caller brought failed: a scorer, an extractor, a listener.
    #[error("{0}")]
    Foreign(Box<dyn std::error::Error + Send + Sync>),
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An [`Error::Input`] without a hint.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            hint: None,
        }
    }

    /// An [`Error::File`] without a hint.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// An [`Error::Io`], for `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    /// The same error with its remedy; errors that carry none stay as they are.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Input { hint, .. } | Self::File { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// How to put it right, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Input { hint, .. } | Self::File { hint, .. } => hint.as_deref(),
            Self::Io { .. } => Some("check that the path exists and that you may read or write it"),
            Self::Tensor { .. } => Some(
                "is this the right file for this model? `ttsvar models` names the files each model is made of",
            ),
            Self::Compute(_) | Self::Foreign(_) | Self::Interrupted => None,
        }
    }
}
