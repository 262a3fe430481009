//! Where prompts come from: the command line, a file, standard input.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use crate::{Error, Result, request};

/// What is to be painted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompts {
    /// One or more, none of them empty.
    pub texts: Vec<String>,
    /// They came from a list, even if that has one line only.
    pub list: bool,
}

impl Prompts {
    /// # Errors
    /// There is no prompt, it is empty, or the list cannot be read.
    pub(super) fn read(prompt: Option<&str>, file: Option<&Path>) -> Result<Self> {
        match (prompt, file) {
            (Some("-"), _) => Self::of_stdin(),
            (_, Some(path)) if path == Path::new("-") => Self::of_stdin(),
            (_, Some(path)) => Self::of_list(path, fs::read(path).map_err(Error::io(path))?),
            (Some(text), None) => Self::single(text),
            (None, None) => Err(Error::input("there is no prompt").with_hint(SAY)),
        }
    }

    /// A prompt that is what it says, also if that is `-`.
    ///
    /// # Errors
    /// It is empty.
    pub(super) fn single(text: &str) -> Result<Self> {
        Ok(Self {
            texts: vec![request::prompt(text, "the prompt")?],
            list: false,
        })
    }

    fn of_stdin() -> Result<Self> {
        let place = Path::new("standard input");
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .map_err(Error::io(place))?;
        Self::of_list(place, bytes)
    }

    /// A prompt a line; blank lines are passed over.
    fn of_list(place: &Path, bytes: Vec<u8>) -> Result<Self> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..good]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            Error::file(place, format!("line {line} is not UTF-8"))
                .with_hint("save the prompts as UTF-8, one a line")
        })?;
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty());
        let texts = lines.map(|(i, line)| {
            request::prompt(line, &format!("line {} of {}", i + 1, place.display()))
        });
        let texts = texts.collect::<Result<Vec<String>>>()?;
        if texts.is_empty() {
            return Err(Error::file(place, "no prompts in it").with_hint("write one prompt a line"));
        }
        Ok(Self { texts, list: true })
    }
}

const SAY: &str = "say what to paint: ttsvar generate \"a red circle and a blue square\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Result<Vec<String>> {
        Prompts::of_list(Path::new("p.txt"), bytes.to_vec()).map(|prompts| prompts.texts)
    }

    #[test]
    fn a_list_is_a_prompt_a_line() {
        assert_eq!(
            list("\u{feff}a red ring\r\n\n  zwei Kreise \n".as_bytes()).unwrap(),
            ["a red ring", "zwei Kreise"]
        );
    }

    #[test]
    fn lists_without_prompts_and_damaged_ones_are_refused() {
        assert_eq!(
            list(b"\n \n").unwrap_err().to_string(),
            "p.txt: no prompts in it"
        );
        assert_eq!(
            list(b"a\n\xff\n").unwrap_err().to_string(),
            "p.txt: line 2 is not UTF-8"
        );
        assert_eq!(
            list(b"a\nb\0\n").unwrap_err().to_string(),
            "line 2 of p.txt contains a NUL"
        );
        assert_eq!(
            Prompts::read(Some(" "), None).unwrap_err().to_string(),
            "the prompt is empty"
        );
    }
}
