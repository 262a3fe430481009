//! Reads prompts from the command line, a file or standard input.

use std::{io, path::Path};

use crate::{Error, Result, file::decode_text, input, request};

/// Bytes of the longest list: about 100,000 prompts.
const MOST_BYTES: u64 = 16_000_000;

/// The prompts of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompts {
    /// One or more non-empty prompts.
    pub texts: Vec<String>,
    /// Whether they came from a list, even one with a single line.
    pub list: bool,
}

impl Prompts {
    /// # Errors
    /// There is no prompt, it is empty, or the list cannot be read.
    pub(super) fn read(prompt: Option<&str>, file: Option<&Path>) -> Result<Self> {
        match (prompt, file) {
            (Some("-"), _) => Self::from_stdin(),
            (_, Some(path)) if path == Path::new("-") => Self::from_stdin(),
            (_, Some(path)) => Self::from_bytes(path, input::pipe_or_file(path, MOST_BYTES)?),
            (Some(text), None) => Self::literal(text),
            (None, None) => Err(Error::input("no prompt given").with_hint(USAGE)),
        }
    }

    /// A prompt to be taken literally, even if it is `-`.
    ///
    /// # Errors
    /// It is empty.
    pub(super) fn literal(text: &str) -> Result<Self> {
        Ok(Self {
            texts: vec![request::prompt(text, "the prompt")?],
            list: false,
        })
    }

    fn from_stdin() -> Result<Self> {
        let place = Path::new("standard input");
        let bytes = input::limited(place, &mut io::stdin().lock(), MOST_BYTES)?;
        Self::from_bytes(place, bytes)
    }

    fn from_bytes(place: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::from_list(place, &decode_text(place, bytes)?)
    }

    /// Reads one prompt per line; blank lines are skipped.
    fn from_list(place: &Path, text: &str) -> Result<Self> {
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty());
        let texts = lines.map(|(i, line)| {
            request::prompt(line, &format!("line {} of {}", i + 1, place.display()))
        });
        let texts = texts.collect::<Result<Vec<String>>>()?;
        if texts.is_empty() {
            return Err(
                Error::file(place, "contains no prompts").with_hint("write one prompt per line")
            );
        }
        Ok(Self { texts, list: true })
    }
}

const USAGE: &str = "give a prompt: ttsvar generate \"a red circle and a blue star\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Result<Vec<String>> {
        let text = decode_text("p.txt", bytes.to_vec())?;
        Prompts::from_list(Path::new("p.txt"), &text).map(|prompts| prompts.texts)
    }

    #[test]
    fn a_list_has_one_prompt_per_line() {
        assert_eq!(
            list("\u{feff}a red ring\r\n\n  zwei Kreise \n".as_bytes()).unwrap(),
            ["a red ring", "zwei Kreise"]
        );
    }

    #[test]
    fn lists_without_prompts_and_damaged_ones_are_refused() {
        assert_eq!(
            list(b"\n \n").unwrap_err().to_string(),
            "p.txt: contains no prompts"
        );
        assert_eq!(
            list(b"a\n\xff\n").unwrap_err().to_string(),
            "p.txt: line 2, byte 1: expected UTF-8 text, found the byte 0xff"
        );
        assert_eq!(
            list(b"a\nb\0\n").unwrap_err().to_string(),
            "p.txt: line 2, byte 2: expected text, found a NUL"
        );
        assert_eq!(
            Prompts::read(Some(" "), None).unwrap_err().to_string(),
            "the prompt is empty"
        );
    }
}
