//! Reads prompts or classes from the command line, a file or standard input.

use std::{io, path::Path};

use crate::{
    Error, Result,
    file::decode_text,
    input,
    options::{ClassChoice, parse},
    request,
};

/// Bytes of the longest list: about 100,000 prompts.
const MOST_BYTES: u64 = 16_000_000;

/// What an image shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A prompt, which is not empty.
    Prompt(String),
    /// A class of a list; `None` for the one in the options, or in the model's defaults.
    Class(Option<ClassChoice>),
}

/// The subjects of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prompts {
    /// One or more, all prompts or all classes.
    pub subjects: Vec<Subject>,
    /// Whether they came from a list, even one with a single line.
    pub list: bool,
}

impl Prompts {
    /// A prompt, or those of a list; `None` if neither is given.
    ///
    /// # Errors
    /// The prompt is empty, or the list cannot be read.
    pub(super) fn read(prompt: Option<&str>, file: Option<&Path>) -> Result<Option<Self>> {
        let file = match prompt {
            Some("-") => Some(Path::new("-")),
            _ => file,
        };
        match (prompt, file) {
            (None, None) => Ok(None),
            (Some(text), None) => Self::literal(text).map(Some),
            (_, Some(file)) => Ok(Some(Self {
                subjects: lines(file, PROMPT)?
                    .into_iter()
                    .map(Subject::Prompt)
                    .collect(),
                list: true,
            })),
        }
    }

    /// A prompt to be taken literally, even if it is `-`.
    ///
    /// # Errors
    /// It is empty.
    pub(super) fn literal(text: &str) -> Result<Self> {
        Ok(Self {
            subjects: vec![Subject::Prompt(request::prompt(text, "the prompt")?)],
            list: false,
        })
    }

    /// The prompts among them.
    pub(super) fn texts(&self) -> Vec<&str> {
        let texts = self.subjects.iter().map(|subject| match subject {
            Subject::Prompt(text) => Some(text.as_str()),
            Subject::Class(_) => None,
        });
        texts.flatten().collect()
    }

    /// The class in the options, or in the model's defaults.
    pub(super) fn class_of_options() -> Self {
        Self {
            subjects: vec![Subject::Class(None)],
            list: false,
        }
    }

    /// The classes of a list.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn classes(file: &Path) -> Result<Self> {
        let class = |line: String| Ok(Subject::Class(Some(parse(&line)?)));
        Ok(Self {
            subjects: lines(file, CLASS)?
                .into_iter()
                .map(class)
                .collect::<Result<_>>()?,
            list: true,
        })
    }

    /// Returns whether these are classes.
    pub(super) fn are_classes(&self) -> bool {
        matches!(self.subjects.first(), Some(Subject::Class(_)))
    }
}

/// What the lines of a list are, in singular and plural.
type LineKind = [&'static str; 2];

pub(super) const PROMPT: LineKind = ["prompt", "prompts"];
const CLASS: LineKind = ["class", "classes"];

/// The prompts or classes of a list, one per line; `-` is standard input.
///
/// # Errors
/// It cannot be read, or has no lines that are not blank.
pub(super) fn lines(file: &Path, kind: LineKind) -> Result<Vec<String>> {
    if file != Path::new("-") {
        let text = decode_text(file, input::pipe_or_file(file, MOST_BYTES)?)?;
        return split_lines(file, &text, kind);
    }
    let place = Path::new("standard input");
    let bytes = input::limited(place, &mut io::stdin().lock(), MOST_BYTES)?;
    split_lines(place, &decode_text(place, bytes)?, kind)
}

/// One prompt or class per line; blank lines are skipped.
fn split_lines(place: &Path, text: &str, [one, many]: LineKind) -> Result<Vec<String>> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let texts = lines
        .map(|(i, line)| request::prompt(line, &format!("line {} of {}", i + 1, place.display())));
    let texts = texts.collect::<Result<Vec<String>>>()?;
    if texts.is_empty() {
        return Err(Error::file(place, format!("contains no {many}"))
            .with_hint(format!("write one {one} per line")));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bytes: &[u8]) -> Result<Vec<String>> {
        let text = decode_text("p.txt", bytes.to_vec())?;
        split_lines(Path::new("p.txt"), &text, PROMPT)
    }

    #[test]
    fn a_list_has_one_prompt_per_line() {
        assert_eq!(
            list("\u{feff}a red ring\r\n\n  zwei Kreise \n".as_bytes()).unwrap(),
            ["a red ring", "zwei Kreise"]
        );
    }

    #[test]
    fn a_list_of_classes_has_numbers_and_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "207\n\ngolden retriever\n").unwrap();
        let prompts = Prompts::classes(file.path()).unwrap();
        let class = |text: &str| Subject::Class(Some(text.parse().unwrap()));
        assert_eq!(prompts.subjects, [class("207"), class("golden retriever")]);
        assert!(prompts.are_classes() && prompts.list);
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
