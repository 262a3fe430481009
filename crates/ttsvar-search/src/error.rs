//! Errors of a search: what was expected, what was found, and a hint where a remedy is known.

use crate::PlanError;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a search. Its text is one line; [`Error::hint`] holds the remedy, if one is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that cannot be done as asked.
    #[error("{message}")]
    Input {
        /// What was expected and what was found.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// A plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A bug: a generator, a scorer or this crate broke its contract.
    #[error("{0}")]
    Internal(String),
    /// A generator, a scorer, a feature extractor or a listener failed.
    #[error(transparent)]
    External(Box<dyn std::error::Error + Send + Sync>),
    /// The caller asked the search to stop.
    #[error("interrupted")]
    Interrupted,
}

/// The party at fault, which decides exit codes and HTTP statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller can correct it: options, prompts, plans, files.
    Input,
    /// The operating system refused: threads, sockets, devices, memory.
    System,
    /// A bug of the program.
    Internal,
    /// Code that the caller supplied failed.
    External,
    /// The caller asked to stop.
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

    /// An [`Error::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }

    /// An [`Error::External`] from any error type.
    pub fn external(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::External(error.into())
    }

    /// The same error with a remedy. Only an [`Error::Input`] carries one; others are unchanged.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Input { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// The remedy, if one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Input { hint, .. } => hint.clone(),
            Self::Plan(error) => error.hint(),
            Self::Internal(_) | Self::External(_) | Self::Interrupted => None,
        }
    }

    /// The party at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Input { .. } | Self::Plan(_) => ErrorKind::Input,
            Self::Internal(_) => ErrorKind::Internal,
            Self::External(_) => ErrorKind::External,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }
}
