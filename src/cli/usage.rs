//! Parses the command line; parse errors are reported in the same form as other errors.

use std::{error::Error as _, ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, error::ErrorKind};

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
            let help = help_command(std::env::args_os());
            Console::new(false, false).error(&from_clap(&error, &help));
            ExitCode::from(REFUSED)
        }
    })
}

/// An error that one of this crate's types found in its value, with its own hint; otherwise the
/// parser's message. `help` is the command that prints the flags.
fn from_clap(error: &clap::Error, help: &str) -> Error {
    let found = error
        .source()
        .and_then(|source| source.downcast_ref::<Error>());
    let Some(found) = found else {
        return refusal(&error.render().to_string(), help);
    };
    let hint = found.hint().unwrap_or_else(|| see(help));
    Error::input(found.to_string()).with_hint(hint)
}

/// The parser's message on one line, with its tip as the hint.
fn refusal(text: &str, help: &str) -> Error {
    let mut lines = text.lines().map(str::trim);
    let first = lines
        .by_ref()
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    // Another tip explains how to pass an unknown flag as a value, which nobody wants.
    let tip = lines
        .filter_map(|line| line.strip_prefix("tip: "))
        .find(|tip| tip.contains("similar"));
    let hint = match (tip, message.strip_prefix("unexpected argument '")) {
        (_, Some(extra)) if extra.starts_with("-n'") => {
            "the number of candidates is `--n`, such as `--n 4`".to_owned()
        }
        (_, Some(extra)) if !extra.starts_with('-') => {
            "put a prompt with several words in quotes".to_owned()
        }
        (Some(tip), _) => tip.to_owned(),
        (None, _) => see(help),
    };
    Error::input(message).with_hint(hint)
}

fn see(help: &str) -> String {
    format!("`{help}` lists the options")
}

/// The help command for the subcommand that was typed.
fn help_command(typed: impl Iterator<Item = OsString>) -> String {
    let mut command = Arguments::command();
    let mut help = "ttsvar help".to_owned();
    for word in typed.skip(1) {
        let Some(inner) = word.to_str().and_then(|name| command.find_subcommand(name)) else {
            continue;
        };
        help = format!("{help} {}", inner.get_name());
        command = inner.clone();
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_error(line: &[&str]) -> (String, String) {
        let error = Arguments::try_parse_from(line).unwrap_err();
        let typed = line.iter().map(OsString::from);
        let error = refusal(&error.render().to_string(), &help_command(typed));
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
                "invalid value 'one' for '--seed <NUMBER>': expected a non-negative integer, \
                 or -1 for a random seed"
                    .to_owned(),
                "`ttsvar help generate` lists the options".to_owned()
            )
        );
        assert_eq!(
            parse_error(&["ttsvar", "inspect"]),
            (
                "the following required arguments were not provided: <FILE>...".to_owned(),
                "`ttsvar help inspect` lists the options".to_owned()
            )
        );
        for short in ["-n", "-n4"] {
            let (message, hint) = parse_error(&["ttsvar", "generate", "x", short]);
            assert_eq!(message, "unexpected argument '-n' found");
            assert_eq!(hint, "the number of candidates is `--n`, such as `--n 4`");
        }
        assert_eq!(
            parse_error(&["ttsvar", "eval", "scenes", "--gpu", "20"]).1,
            "`ttsvar help eval scenes` lists the options"
        );
        assert_eq!(
            parse_error(&["ttsvar", "generate", "a", "red"]).1,
            "put a prompt with several words in quotes"
        );
    }
}
