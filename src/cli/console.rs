//! All output of the program: results on standard output, messages on standard error, readable
//! without colour. Control characters and the like are made visible here; whoever puts text from
//! elsewhere into a result of several lines escapes its line breaks with [`quoting::line`].

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};

use super::reading::Reading;

use crate::{
    Error, Result,
    loading::{LoadReport, Notice},
    quoting,
    request::Session,
    system::{ScorerSet, System, SystemBuilder},
};

/// The console.
#[derive(Clone, Copy, Debug)]
pub(super) struct Console {
    /// Whether to print only results and errors.
    pub quiet: bool,
    /// Whether to print results as JSON.
    pub json: bool,
    /// Whether standard error is a terminal and can show progress.
    pub terminal: bool,
    colour: bool,
}

impl Console {
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

    /// Prints a result. A closed pipe is not an error.
    pub(super) fn result(&self, text: &str) -> Result<()> {
        let text = if self.json {
            quoting::json(text.trim_end())
        } else {
            quoting::lines(text.trim_end())
        };
        self.output(format!("{text}\n").as_bytes())
    }

    /// Writes a result as it is: a file that was asked for on standard output.
    pub(super) fn output(&self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::io("standard output")(error))
            }
            _ => Ok(()),
        }
    }

    /// Prints a note.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.print("note", AnsiColor::Cyan, text);
        }
    }

    /// Prints a warning and a hint.
    pub(super) fn warn(&self, text: &str, hint: Option<&str>) {
        if !self.quiet {
            self.print("warning", AnsiColor::Yellow, text);
            self.hint(hint);
        }
    }

    /// Opens a system and prints what was found in its files. Shows how far its networks are read.
    pub(super) fn open(&self, builder: &SystemBuilder) -> Result<System> {
        let system = self.open_unwatched(builder)?;
        system.watch_reading(Reading::new(self));
        Ok(system)
    }

    /// The same for a system whose networks someone else watches.
    pub(super) fn open_unwatched(&self, builder: &SystemBuilder) -> Result<System> {
        let system = builder.open()?;
        self.notices(system.report());
        Ok(system)
    }

    /// Opens scorers, prints what was found in their files, and reads their networks.
    pub(super) fn open_scorers(&self, builder: &SystemBuilder) -> Result<ScorerSet> {
        let set = builder.open_scorers()?;
        self.notices(&set.report);
        set.read_networks(Reading::new(self))?;
        Ok(set)
    }

    /// Prints what a user should know about the options of a session.
    pub(super) fn advise(&self, session: &Session) {
        for advice in session.advice() {
            self.note(&advice);
        }
    }

    /// Prints what was found in the files of networks.
    pub(super) fn notices(&self, report: &LoadReport) {
        for notice in report.notices() {
            match notice {
                Notice::Note(text) => self.note(&text),
                Notice::Warning(text) => self.warn(&text, None),
            }
        }
    }

    /// Prints an error and a hint.
    pub(super) fn error(&self, error: &Error) {
        self.error_of("", error);
    }

    /// The same with `subject` before the error.
    pub(super) fn error_of(&self, subject: &str, error: &Error) {
        self.print("error", AnsiColor::Red, &format!("{subject}{error}"));
        self.hint(error.hint().as_deref().or(default_hint(error)));
    }

    fn hint(&self, hint: Option<&str>) {
        if let Some(hint) = hint {
            self.print("hint", AnsiColor::Cyan, hint);
        }
    }

    fn print(&self, kind: &str, colour: AnsiColor, text: &str) {
        let style = if self.colour {
            Style::new().bold().fg_color(Some(colour.into()))
        } else {
            Style::new()
        };
        // A failure cannot be reported: standard error itself is closed.
        let _ = writeln!(
            io::stderr(),
            "{style}{kind}:{style:#} {}",
            quoting::line(text)
        );
    }
}

/// The hint for errors without one.
fn default_hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::File { .. } => Some("check that this is the right file and that it is complete"),
        Error::Input { .. } => Some("`ttsvar help COMMAND` lists the options"),
        _ => None,
    }
}
