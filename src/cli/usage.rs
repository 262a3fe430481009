//! Parses the command line; parse errors are reported in the same form as other errors.

use std::{error::Error as _, process::ExitCode};

use clap::{Parser, error::ErrorKind};

use super::{REFUSED, arguments::Arguments, console::Console};
use crate::Error;

/// Returns the arguments, or the exit code if there is nothing left to do.
pub(super) fn parse() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print(); // fails if standard output is closed
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(REFUSED)
        }
        _ => {
            Console::new(false, false).error(&from_clap(&error));
            ExitCode::from(REFUSED)
        }
    })
}

/// An error that one of this crate's types found in its value, with its own hint; otherwise the
/// parser's message.
fn from_clap(error: &clap::Error) -> Error {
    let found = error
        .source()
        .and_then(|source| source.downcast_ref::<Error>());
    let Some(found) = found else {
        return refusal(&error.render().to_string());
    };
    let message = Error::input(found.to_string());
    match found.hint() {
        Some(hint) => message.with_hint(hint),
        None => message,
    }
}

/// The parser's message on one line, with its tip as the hint.
fn refusal(text: &str) -> Error {
    let mut lines = text.lines().map(str::trim);
    let first = lines
        .by_ref()
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    let rest: Vec<&str> = lines.collect();
    let tip = rest.iter().find_map(|line| line.strip_prefix("tip: "));
    let help = rest
        .iter()
        .find_map(|line| line.strip_prefix("Usage: "))
        .and_then(help_command);
    let hint = match (tip, message.strip_prefix("unexpected argument '")) {
        (_, Some(extra)) if !extra.starts_with('-') => {
            "put a prompt with several words in quotes".to_owned()
        }
        (Some(tip), _) => tip.to_owned(),
        (None, _) => format!(
            "`{}` lists what can be given",
            help.as_deref().unwrap_or("ttsvar --help")
        ),
    };
    Error::input(message).with_hint(hint)
}

/// The help command for the subcommand of a usage line.
fn help_command(usage: &str) -> Option<String> {
    let mut words = usage.split_whitespace();
    let program = words.next()?;
    let command = words.next()?;
    command
        .chars()
        .all(|c| c.is_ascii_lowercase())
        .then(|| format!("{program} {command} --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_error(line: &[&str]) -> (String, String) {
        let error = Arguments::try_parse_from(line).unwrap_err();
        let error = refusal(&error.render().to_string());
        (
            error.to_string(),
            error.hint().unwrap_or_default().to_owned(),
        )
    }

    #[test]
    fn messages_are_one_line_with_a_hint() {
        assert_eq!(
            parse_error(&["ttsvar", "generate", "x", "--sed", "1"]),
            (
                "unexpected argument '--sed' found".to_owned(),
                "a similar argument exists: '--seed'".to_owned()
            )
        );
        assert_eq!(
            parse_error(&["ttsvar", "generate", "x", "--seed", "one"]),
            (
                "invalid value 'one' for '--seed <NUMBER>': expected a whole number, 0 or more"
                    .to_owned(),
                "`ttsvar --help` lists what can be given".to_owned()
            )
        );
        assert_eq!(
            parse_error(&["ttsvar", "inspect"]),
            (
                "the following required arguments were not provided: <FILE>...".to_owned(),
                "`ttsvar inspect --help` lists what can be given".to_owned()
            )
        );
        assert_eq!(
            parse_error(&["ttsvar", "generate", "a", "red"]).1,
            "put a prompt with several words in quotes"
        );
    }
}
