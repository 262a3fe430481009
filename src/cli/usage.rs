//! Parses the command line; parse errors are reported in the same form as other errors.

use std::{error::Error as _, ffi::OsString, process::ExitCode};

use clap::{
    Command, CommandFactory, Parser,
    error::{ContextKind, ErrorKind},
};
use ttsvar_search::suggestion::suggest;

use super::{REFUSED, arguments::Arguments, console::Console};
use crate::{Error, hub::catalog};

/// Flags of other image programs, each with the flag of this one that its hint names.
const ELSEWHERE: [(&str, &str, &str); 18] = [
    ("--steps", "decoder-steps", STEPS),
    ("--num-inference-steps", "decoder-steps", STEPS),
    ("--width", "aspect", SIZE),
    ("--height", "aspect", SIZE),
    ("--size", "aspect", SIZE),
    ("--cfg-scale", "cfg", GUIDANCE),
    ("--guidance", "cfg", GUIDANCE),
    ("--guidance-scale", "cfg", GUIDANCE),
    ("--num-images", "best", COUNT),
    ("--num-samples", "best", COUNT),
    ("--batch-size", "best", COUNT),
    ("--count", "best", COUNT),
    ("--temperature", "tau", TEMPERATURE),
    ("--temp", "tau", TEMPERATURE),
    ("--image-size", "pixels", SIZE),
    ("--init-image", "image", EDIT),
    ("--strength", "image", EDIT),
    ("--gpu", "device", DEVICE),
];

const STEPS: &str =
    "the number of scales is fixed by the model; FlexAR's decoder has --decoder-steps";

const SIZE: &str = "the size of the image is set by --aspect and --pixels";

const GUIDANCE: &str = "the strength of guidance is set by --cfg";

const COUNT: &str = "--best K writes the K best images of one search; \
                     --prompts FILE takes several prompts, and --seed another seed";

const TEMPERATURE: &str = "the temperature is set by --tau";

const EDIT: &str = "--image and --mask regenerate the part of an image that is white in the mask";

const DEVICE: &str = "the device is set by --device, such as --device cuda";

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
            let typed = Subcommand::find(std::env::args_os());
            Console::new(false, false).error(&from_clap(&error, &typed));
            ExitCode::from(REFUSED)
        }
    })
}

/// An error that one of this crate's types found in its value, with its own hint; otherwise the
/// parser's message.
fn from_clap(error: &clap::Error, typed: &Subcommand) -> Error {
    let found = error
        .source()
        .and_then(|source| source.downcast_ref::<Error>());
    let Some(found) = found else {
        return refusal(error, typed);
    };
    let hint = found.hint().unwrap_or_else(|| typed.see());
    Error::input(found.to_string()).with_hint(hint)
}

/// The parser's message on one line, with what helps as the hint.
fn refusal(error: &clap::Error, typed: &Subcommand) -> Error {
    let text = error.render().to_string();
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
    let extra = message.strip_prefix("unexpected argument '");
    let extra = extra.and_then(|extra| extra.split('\'').next());
    let foreign = extra.and_then(|flag| typed.foreign_hint(flag));
    let hint = match (error.kind(), extra, foreign) {
        (_, _, Some(hint)) => hint.to_owned(),
        (_, Some("-n"), _) => "the number of candidates is `--n`, such as `--n 4`".to_owned(),
        (_, Some(extra), _) if !extra.starts_with('-') => typed.surplus_hint(extra),
        (ErrorKind::InvalidSubcommand, ..) => {
            let name = error.get(ContextKind::InvalidSubcommand);
            let name = name.map(ToString::to_string).unwrap_or_default();
            if typed.command.get_name() == "models" && !catalog::with_needs(&name).is_empty() {
                return Error::input(message)
                    .with_hint(format!("`ttsvar models fetch {name}` downloads it"));
            }
            let names = [&typed.inner_names()[..], &["help"]].concat();
            suggest(&name, &names, &typed.see())
        }
        (ErrorKind::ArgumentConflict, ..) => "leave one of them out".to_owned(),
        (ErrorKind::MissingRequiredArgument, ..) if message.ends_with("--mask <FILE>") => {
            EDIT.to_owned()
        }
        _ => tip.map_or_else(|| typed.see(), str::to_owned),
    };
    Error::input(message).with_hint(hint)
}

/// The subcommand that was typed.
struct Subcommand {
    command: Command,
    /// The words that print its help.
    help: String,
}

impl Subcommand {
    fn find(typed: impl Iterator<Item = OsString>) -> Self {
        let mut command = Arguments::command();
        let mut help = "ttsvar help".to_owned();
        for word in typed.skip(1) {
            let Some(inner) = word.to_str().and_then(|name| command.find_subcommand(name)) else {
                continue;
            };
            help = format!("{help} {}", inner.get_name());
            command = inner.clone();
        }
        Self { command, help }
    }

    /// The hint that names its help.
    fn see(&self) -> String {
        let what = match self.inner_names().is_empty() {
            true => "options",
            false => "commands",
        };
        format!("`{}` lists the {what}", self.help)
    }

    /// The hint for a flag of another program, if this command has ours.
    fn foreign_hint(&self, flag: &str) -> Option<&'static str> {
        let (_, ours, hint) = ELSEWHERE.into_iter().find(|(other, ..)| *other == flag)?;
        let mut arguments = self.command.get_arguments();
        arguments
            .any(|argument| argument.get_long() == Some(ours))
            .then_some(hint)
    }

    /// The hint for a word too many.
    fn surplus_hint(&self, word: &str) -> String {
        let has = |name: &str| {
            let mut arguments = self.command.get_arguments();
            arguments.any(|argument| argument.get_id() == name)
        };
        if has("prompt") {
            return "put a prompt with several words in quotes".to_owned();
        }
        if has("port") && word.parse::<u16>().is_ok() {
            return format!("the port is set by `--port {word}`");
        }
        self.see()
    }

    /// The names of the subcommands in it.
    fn inner_names(&self) -> Vec<&str> {
        let inner = self.command.get_subcommands();
        inner.map(Command::get_name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_error(line: &[&str]) -> (String, String) {
        let error = Arguments::try_parse_from(line).unwrap_err();
        let typed = line.iter().map(OsString::from);
        let error = refusal(&error, &Subcommand::find(typed));
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
                "invalid value 'one' for '--seed <NUMBER>': expected an integer from 0 to \
                 18446744073709551615, or -1"
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
        for (flag, hint) in [
            ("--steps", STEPS),
            ("--width", SIZE),
            ("--cfg-scale", GUIDANCE),
            ("--num-images", COUNT),
        ] {
            let generate = ["ttsvar", "generate", "x", flag, "4"];
            let found = format!("unexpected argument '{flag}' found");
            assert_eq!(parse_error(&generate), (found, hint.to_owned()));
        }
        assert_eq!(
            parse_error(&["ttsvar", "inspect", "x", "--width", "4"]).1,
            "`ttsvar help inspect` lists the options"
        );
        assert_eq!(
            parse_error(&["ttsvar", "eval", "scenes", "--gpu", "20"]).1,
            "`ttsvar help eval scenes` lists the options"
        );
        assert_eq!(
            parse_error(&["ttsvar", "serve", "8080"]).1,
            "the port is set by `--port 8080`"
        );
        assert_eq!(
            parse_error(&["ttsvar", "doctor", "demo"]).1,
            "`ttsvar help doctor` lists the options"
        );
        assert_eq!(
            parse_error(&["ttsvar", "generate", "x", "--image", "a.png"]).1,
            EDIT
        );
        for line in [&["ttsvar", "generat"][..], &["ttsvar", "help", "generat"]] {
            let (message, hint) = parse_error(line);
            assert_eq!(message, "unrecognized subcommand 'generat'");
            assert_eq!(
                hint,
                "did you mean `generate`? `ttsvar help` lists the commands"
            );
        }
        assert_eq!(
            parse_error(&["ttsvar", "plan", "--scales", "7", "--scorer", "clip"]).1,
            "leave one of them out"
        );
        assert_eq!(
            parse_error(&["ttsvar", "generate", "a", "red"]).1,
            "put a prompt with several words in quotes"
        );
    }
}
