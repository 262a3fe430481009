//! Errors: what was expected, what was found, where, and a hint where a remedy is known.

use std::path::{Path, PathBuf};

pub use ttsvar_search::ErrorKind;
use ttsvar_search::PlanError;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. Its text is one line; [`Error::hint`] holds the remedy, if one is known,
/// and [`std::error::Error::source`] the underlying error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that cannot be done as asked: an option, a prompt.
    #[error("{message}")]
    Input {
        /// What was expected and what was found.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// The contents of a file are not as expected.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what was found.
        message: String,
        /// The remedy.
        hint: Option<String>,
        /// The underlying error, if there is one.
        source: Option<Box<Error>>,
    },
    /// The operating system refused to read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A weight file cannot be loaded into a network.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A search failed: see [`ttsvar_search::Error`].
    #[error(transparent)]
    Search(ttsvar_search::Error),
    /// The tensor library failed: a bug of this program, or not enough memory.
    #[error("tensor library: {0}")]
    Compute(#[from] candle_core::Error),
    /// The operating system refused threads, sockets, a device or a database.
    #[error("{message}")]
    System {
        /// What was attempted, and the system's answer.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// A bug of this program.
    #[error("{0}")]
    Internal(String),
}

/// A weight file that does not fit a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A tensor is missing.
    #[error("{origin}: tensor `{tensor}` is missing: expected {expected}")]
    Missing {
        /// The file that should hold the tensor.
        origin: String,
        /// Its full name in that file.
        tensor: String,
        /// The shape or type that the model needs, and the name of a similar tensor if there is one.
        expected: String,
    },
    /// A tensor has the wrong shape or type.
    #[error("{origin}: tensor `{tensor}`: expected {expected}, found {found}")]
    Tensor {
        /// The file.
        origin: String,
        /// The full name of the tensor in that file.
        tensor: String,
        /// The shape or type that the model needs.
        expected: String,
        /// The shape or type in the file.
        found: String,
    },
    /// A tensor has a number that is NaN or infinite.
    #[error("{origin}: tensor `{tensor}`: expected finite numbers, found {found}")]
    NotFinite {
        /// The file.
        origin: String,
        /// The full name of the tensor in that file.
        tensor: String,
        /// The number and its place.
        found: String,
    },
    /// A tensor has a weight that is too large for 8 bits.
    #[error(
        "{origin}: tensor `{tensor}`: expected weights of at most {most} in absolute value, \
         as 8 bits can hold, found {found}"
    )]
    TooLarge {
        /// The file.
        origin: String,
        /// The full name of the tensor in that file.
        tensor: String,
        /// The largest absolute value.
        most: u32,
        /// The number and its place.
        found: String,
    },
    /// The file does not hold weights in a known format.
    #[error("{}: expected weights (PyTorch, safetensors or GGUF), found {found}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// The actual kind of file.
        found: String,
        /// The remedy.
        hint: String,
    },
    /// A weight file is damaged or cut short.
    #[error("{}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        message: String,
    },
    /// A PyTorch file asks for an object other than tensors and plain values. Such a file may be
    /// harmless, but this program never runs its code.
    #[error("{}: the pickle asks for `{name}`; {reason}", path.display())]
    ForbiddenObject {
        /// The file.
        path: PathBuf,
        /// Module and name of the object.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
}

impl LoadError {
    /// A [`LoadError::Damaged`].
    pub(crate) fn damaged(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.as_ref().to_owned(),
            message: message.into(),
        }
    }

    /// The remedy.
    pub fn hint(&self) -> &str {
        match self {
            Self::Missing { .. } | Self::Tensor { .. } => {
                "is this the right file for this model? \
                 `ttsvar models` names the files of each model"
            }
            Self::NotFinite { .. } => {
                "the file is damaged, or its training diverged; download it again or use another"
            }
            Self::TooLarge { .. } => "use the weights as they are, with --dtype f32 or bf16",
            Self::NotACheckpoint { hint, .. } => hint,
            Self::Damaged { .. } => "the file is damaged or cut short; download it again",
            Self::ForbiddenObject { .. } => {
                "if you trust the file, load it in Python and save only its tensors, \
                 preferably with `safetensors.torch.save_file`"
            }
        }
    }
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
            source: None,
        }
    }

    /// An error in the contents of a file: its text and hint, with the path in front.
    pub fn in_file(path: impl AsRef<Path>, source: impl Into<Self>) -> Self {
        let source = source.into();
        Self::File {
            path: path.as_ref().to_owned(),
            message: source.to_string(),
            hint: source.hint(),
            source: Some(Box::new(source)),
        }
    }

    /// An [`Error::Io`], for `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    /// An [`Error::System`] without a hint.
    pub fn system(message: impl Into<String>) -> Self {
        Self::System {
            message: message.into(),
            hint: None,
        }
    }

    /// An [`Error::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }

    /// The caller asked to stop.
    pub fn interrupted() -> Self {
        Self::Search(ttsvar_search::Error::Interrupted)
    }

    /// True if the caller asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.kind() == ErrorKind::Interrupted
    }

    /// The same error with a remedy; kinds of errors that cannot carry one are unchanged.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::Input { hint, .. } | Self::File { hint, .. } | Self::System { hint, .. } => {
                *hint = Some(text.into());
                self
            }
            Self::Search(_) => match self {
                Self::Search(error) => Self::Search(error.with_hint(text)),
                other => other,
            },
            _ => self,
        }
    }

    /// The remedy, if one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Input { hint, .. } | Self::File { hint, .. } | Self::System { hint, .. } => {
                hint.clone()
            }
            Self::Io { path, .. } => Some(match path.to_string_lossy().contains("://") {
                true => "download it first; only files on this machine are read".to_owned(),
                false => {
                    "check that the path exists and that you have permission to read or write it"
                        .to_owned()
                }
            }),
            Self::Load(error) => Some(error.hint().to_owned()),
            Self::Search(error) => error.hint(),
            Self::Compute(_) | Self::Internal(_) => None,
        }
    }

    /// The party at fault, which decides exit codes and HTTP statuses.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Input { .. } | Self::File { .. } | Self::Io { .. } | Self::Load(_) => {
                ErrorKind::Input
            }
            Self::Search(error) => error.kind(),
            Self::System { .. } => ErrorKind::System,
            Self::Compute(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Search(error.into())
    }
}

/// Restores an error of this crate that passed through a search.
impl From<ttsvar_search::Error> for Error {
    fn from(error: ttsvar_search::Error) -> Self {
        match error {
            ttsvar_search::Error::External(inner) => match inner.downcast::<Self>() {
                Ok(error) => *error,
                Err(inner) => Self::Search(ttsvar_search::Error::External(inner)),
            },
            other => Self::Search(other),
        }
    }
}

impl From<Error> for ttsvar_search::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Search(error) => error,
            other => Self::external(other),
        }
    }
}
