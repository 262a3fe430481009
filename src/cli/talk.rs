//! Everything that is printed: results on standard output, talk on standard error, readable without
//! colour.

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};

use crate::{Error, Result};

/// How the program speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    /// Only results and errors are wanted.
    pub quiet: bool,
    /// Results are wanted as JSON.
    pub json: bool,
    /// Standard error is a terminal, so that progress may be shown.
    pub terminal: bool,
    colour: bool,
}

impl Talk {
    pub(super) fn new(quiet: bool, json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            quiet,
            json,
            terminal,
            colour: terminal && !plain,
        }
    }

    /// A result. Someone who stops listening is no error.
    pub(super) fn result(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::io("standard output")(error))
            }
            _ => Ok(()),
        }
    }

    /// Something good to know.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.say("note", AnsiColor::Cyan, text);
        }
    }

    /// Something odd and what to do about it.
    pub(super) fn warn(&self, text: &str, hint: Option<&str>) {
        if !self.quiet {
            self.say("warning", AnsiColor::Yellow, text);
            self.hint(hint);
        }
    }

    /// What went wrong and how to put it right.
    pub(super) fn error(&self, error: &Error) {
        self.error_of("", error);
    }

    /// The same, said of something: `what` stands before the error.
    pub(super) fn error_of(&self, what: &str, error: &Error) {
        self.say("error", AnsiColor::Red, &format!("{what}{error}"));
        self.hint(error.hint().as_deref().or(usual(error)));
    }

    fn hint(&self, hint: Option<&str>) {
        if let Some(hint) = hint {
            self.say("hint", AnsiColor::Cyan, hint);
        }
    }

    fn say(&self, kind: &str, colour: AnsiColor, text: &str) {
        let style = if self.colour {
            Style::new().bold().fg_color(Some(colour.into()))
        } else {
            Style::new()
        };
        // Nobody is left to hear that standard error is gone.
        let _ = writeln!(io::stderr(), "{style}{kind}:{style:#} {text}");
    }
}

/// What helps against errors that bring no hint of their own.
fn usual(error: &Error) -> Option<&'static str> {
    match error {
        Error::File { .. } => {
            Some("check that this is the right file for its place, and that it is complete")
        }
        Error::Input { .. } => Some("`ttsvar help` lists what can be given"),
        _ => None,
    }
}
