//! A folder of its own for each test, in which the program runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use tempfile::TempDir;
use ttsvar::image::Png;

use crate::support::copy_folder;

/// The folder with the demo's bundle.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo")
}

/// An empty folder; the program runs in it.
pub struct Desk(TempDir);

/// What a run left on the terminal.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Desk {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A desk with a copy of the demo under the name `bundle`.
    pub fn with_demo() -> Self {
        let desk = Self::new();
        desk.copy(&demo(), "bundle");
        desk
    }

    /// Copies a folder to `name`.
    pub fn copy(&self, from: &Path, name: &str) {
        copy_folder(from, &self.path(name));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub fn png(&self, name: &str) -> Png {
        Png::open(self.path(name)).unwrap()
    }

    /// Every file below the folder, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(self.0.path(), self.0.path(), &mut files);
        files.sort();
        files
    }

    /// Runs the program with `input` on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ttsvar"));
        command
            .current_dir(self.0.path())
            .env_remove("COLUMNS")
            .env_remove("NO_COLOR");
        let output = command.args(arguments).write_stdin(input).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    /// Runs what has to work, and returns what it prints.
    pub fn works(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(
            (said.code, said.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        said.out
    }

    /// Runs the command in a report that repeats its search, which must be a single line for a
    /// shell, and writes the image to `out`.
    pub fn repeat_by_report(&self, report: &str, out: &str) {
        let page = self.text(report);
        let (_, rest) = page
            .split_once("<pre id=\"command\" tabindex=\"0\">")
            .unwrap();
        let (line, _) = rest.split_once("</pre>").unwrap();
        let line = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&amp;", "&"),
        ]
        .iter()
        .fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        let words = shell_words::split(&line).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ["ttsvar", "generate", flags @ ..] = &words[..] else {
            panic!("{line}")
        };
        let outputs = ["generate", "--quiet", "--out", out];
        self.works(&[&outputs[..], flags].concat());
    }

    /// Runs what has to be refused with one error, one hint, and nothing written; returns the line
    /// and both messages.
    pub fn refuses(&self, arguments: &[&str]) -> String {
        let before = self.files();
        let said = self.run(arguments);
        let messages: Vec<&str> = said.err.lines().collect();
        let [error, hint] = messages[..] else {
            panic!("{arguments:?}: expected two lines, found {said:?}")
        };
        assert!(
            error.starts_with("error: ") && hint.starts_with("hint: "),
            "{arguments:?}: {said:?}"
        );
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert_eq!(self.files(), before, "{arguments:?}");
        let typed: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        format!("$ {}\n{error}\n{hint}\n", typed.join(" "))
    }
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(char::is_whitespace) {
        format!("{word:?}")
    } else {
        word.to_owned()
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
}
