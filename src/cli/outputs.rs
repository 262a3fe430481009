//! Output files. A named file is replaced; in a folder, a free name is chosen and no existing file
//! is lost.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{self, Path, PathBuf},
};

use super::{arguments, console::Console, interrupt::undisturbed};
use crate::{Error, Result, file};

/// The name that stands for standard output.
const STDOUT: &str = "-";

/// The target of one kind of result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OutputTarget {
    /// Exactly this file.
    File(PathBuf),
    /// A file with a free name in this folder, which is created if necessary.
    Folder(PathBuf),
    /// Standard output.
    Stdout,
}

/// The endings of the file names of a search.
pub(super) const IMAGE: &str = ".png";
pub(super) const TRACE: &str = ".trace.json";
pub(super) const TREE: &str = ".tree.png";
pub(super) const REPORT: &str = ".report.html";

/// The targets of all results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outputs {
    /// How many images of each search are written, best first, with numbers; `None` for the best
    /// one without a number.
    pub best: Option<usize>,
    pub image: OutputTarget,
    pub trace: Option<OutputTarget>,
    pub tree: Option<OutputTarget>,
    pub report: Option<OutputTarget>,
}

impl Outputs {
    /// Reads the options; `list` means that there may be several prompts.
    ///
    /// # Errors
    /// A name does not fit its content, or a target is not writable.
    pub(super) fn read(typed: &arguments::Outputs, list: bool, console: &Console) -> Result<Self> {
        let target = |path: &Option<PathBuf>, flag, end, list| {
            path.as_deref()
                .map(|path| OutputTarget::read(path, flag, end, list))
                .transpose()
        };
        let several = list || typed.best.is_some();
        let image = target(&typed.out, "--out", "png", several)?;
        let image = image.unwrap_or(OutputTarget::Folder(PathBuf::from(".")));
        let trace = target(&typed.trace, "--trace", "json", list)?;
        let tree = target(&typed.tree, "--tree", "png", list)?;
        let report = target(&typed.report, "--report", "html", list)?;
        let outputs = Self {
            best: typed.best,
            image,
            trace,
            tree,
            report,
        };
        let several = list || (outputs.best.is_some() && outputs.image == OutputTarget::Stdout);
        outputs.check_stdout(several, console)?;
        let files: Vec<&PathBuf> = outputs
            .all()
            .filter_map(|(target, _)| target.file())
            .collect();
        let paths: Vec<PathBuf> = files.iter().map(|path| canonical(path)).collect();
        if let Some(twice) = (0..files.len()).find(|&i| paths[..i].contains(&paths[i])) {
            return Err(Error::file(
                files[twice],
                "two results cannot be written to the same file",
            )
            .with_hint("give each its own name"));
        }
        outputs.all().try_for_each(|(target, _)| target.check())?;
        Ok(outputs)
    }

    /// Checks that standard output is free for a file, if one is to be written there.
    fn check_stdout(&self, several: bool, console: &Console) -> Result<()> {
        let written = self
            .all()
            .filter(|(target, _)| **target == OutputTarget::Stdout);
        let ends: Vec<&str> = written.map(|(_, end)| end).collect();
        let Some(end) = ends.first() else {
            return Ok(());
        };
        let refuse = |what: &str, hint: &str| Err(Error::input(what).with_hint(hint));
        if ends.len() > 1 {
            return refuse(
                "only one result can be written to standard output",
                "give the others file names",
            );
        }
        if several {
            return refuse(
                "several results cannot be written to standard output",
                "give a folder instead of `-`: results are numbered in it",
            );
        }
        if console.json {
            return refuse(
                "--json and a file cannot both be written to standard output",
                "leave --json out, or give a file name instead of `-`",
            );
        }
        if *end != TRACE && io::stdout().is_terminal() {
            return refuse(
                "this file is not text for a terminal",
                "redirect standard output, such as `-o - > image.png`, or give a file name",
            );
        }
        Ok(())
    }

    /// Returns whether a file is written to standard output.
    pub(super) fn uses_stdout(&self) -> bool {
        self.all()
            .any(|(target, _)| *target == OutputTarget::Stdout)
    }

    /// Every target with the ending of its file names.
    fn all(&self) -> impl Iterator<Item = (&OutputTarget, &'static str)> {
        let others = [
            (&self.trace, TRACE),
            (&self.tree, TREE),
            (&self.report, REPORT),
        ];
        let others = others
            .into_iter()
            .filter_map(|(target, end)| Some((target.as_ref()?, end)));
        std::iter::once((&self.image, IMAGE)).chain(others)
    }

    /// Returns `stem`, with a number if one of its file names is taken: all files of a search have
    /// the same name.
    pub(super) fn free(&self, stem: &str) -> String {
        let ends = self.file_ends();
        let taken = |name: &String| {
            let mut folders = ends
                .iter()
                .filter_map(|(target, end)| Some((target.folder()?, end)));
            folders.any(|(folder, end)| folder.join(format!("{name}{end}")).exists())
        };
        numbered(stem)
            .find(|name| !taken(name))
            .unwrap_or_else(|| stem.to_owned())
    }

    /// The endings of the file names of a search's images, best first.
    pub(super) fn image_ends(&self) -> Vec<String> {
        match self.best {
            Some(best) => (1..=best).map(|rank| format!("-{rank}{IMAGE}")).collect(),
            None => vec![IMAGE.to_owned()],
        }
    }

    /// Every file of a search: its target and the ending of its name.
    fn file_ends(&self) -> Vec<(&OutputTarget, String)> {
        let others = self
            .all()
            .skip(1)
            .map(|(target, end)| (target, end.to_owned()));
        let images = self.image_ends().into_iter();
        images.map(|end| (&self.image, end)).chain(others).collect()
    }

    /// Returns whether an output shows the candidates and needs their images.
    pub(super) fn shows(&self) -> bool {
        self.tree.is_some() || self.report.is_some()
    }
}

impl OutputTarget {
    fn read(path: &Path, flag: &str, end: &str, list: bool) -> Result<Self> {
        if path == Path::new(STDOUT) {
            return Ok(Self::Stdout);
        }
        if path.as_os_str().is_empty() {
            return Err(Error::input(format!("{flag} is empty"))
                .with_hint(format!("give a .{end} file or a folder")));
        }
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        // Without a separator at its end, which hides an existing file
        let plain: PathBuf = path.components().collect();
        if path.to_string_lossy().ends_with(path::is_separator) && !plain.exists() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let name = plain.file_name().unwrap_or_default().to_string_lossy();
        if name.eq_ignore_ascii_case(&format!(".{end}")) {
            return Err(Error::file(path, "has no name before its ending")
                .with_hint(format!("give a name such as a.{end}, or a folder")));
        }
        let found = plain.extension().map(|end| end.to_string_lossy());
        match found {
            Some(found) if found.eq_ignore_ascii_case(end) && list => Err(Error::file(
                path,
                "several results cannot be written to one file",
            )
            .with_hint(format!("give {flag} a folder: results are numbered in it"))),
            Some(found) if found.eq_ignore_ascii_case(end) => Ok(Self::File(plain)),
            _ if plain.exists() => Err(wrong_ending(path, end)
                .with_hint("a file with that name already exists; choose another name")),
            Some(found) if is_file_ending(&found) => {
                Err(wrong_ending(path, end).with_hint(format!(
                    "{flag} writes {} only; end the name of a new folder with `/`",
                    end.to_uppercase()
                )))
            }
            _ => Ok(Self::Folder(path.to_owned())),
        }
    }

    fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Folder(_) | Self::Stdout => None,
        }
    }

    fn folder(&self) -> Option<&PathBuf> {
        match self {
            Self::File(_) | Self::Stdout => None,
            Self::Folder(path) => Some(path),
        }
    }

    /// Checks that a file can be written; leaves nothing behind.
    fn check(&self) -> Result<()> {
        let folder = match self {
            Self::Stdout => return Ok(()),
            Self::File(path) => parent(path),
            Self::Folder(path) => path
                .ancestors()
                .map(named)
                .find(|path| path.exists())
                .unwrap_or(Path::new(".")),
        };
        let target = self.file().or(self.folder()).map_or(folder, |path| path);
        if !folder.is_dir() {
            let what = if folder.exists() {
                "is not a folder"
            } else {
                "does not exist"
            };
            return Err(Error::file(
                target,
                format!("cannot be written: `{}` {what}", folder.display()),
            )
            .with_hint("create the folder first, or choose another one"));
        }
        tempfile::tempfile_in(folder).map_err(|error| {
            Error::file(target, format!("cannot be written: {error}"))
                .with_hint("choose a writable folder")
        })?;
        Ok(())
    }

    /// Writes a result: to the file, or to `stem` + `end` in the folder, with a number in between
    /// if that name is taken. Returns the path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(
        &self,
        stem: &str,
        end: &str,
        bytes: &[u8],
        console: &Console,
    ) -> Result<PathBuf> {
        if *self == Self::Stdout {
            console.output(bytes)?;
        }
        undisturbed(|| match self {
            Self::Stdout => Ok(PathBuf::from("standard output")),
            Self::File(path) => {
                file::replace(path, bytes).map_err(Error::io(path))?;
                Ok(path.clone())
            }
            Self::Folder(folder) => {
                fs::create_dir_all(folder).map_err(Error::io(folder))?;
                for name in numbered(stem) {
                    let path = folder.strip_prefix(".").unwrap_or(folder).join(name + end);
                    if !path.exists() && file::create(&path, bytes).map_err(Error::io(&path))? {
                        return Ok(path);
                    }
                }
                Err(Error::file(folder, "contains no free file name")
                    .with_hint("choose another folder"))
            }
        })
    }
}

/// Returns whether the part of a name behind its last dot is that of a file, unlike in `run-1.5` or
/// `seed.7`.
fn is_file_ending(end: &str) -> bool {
    end.chars().any(char::is_alphabetic) && end.chars().all(char::is_alphanumeric)
}

fn wrong_ending(path: &Path, end: &str) -> Error {
    Error::file(path, format!("expected a .{end} file or a folder"))
}

/// Names for a file: `stem`, `stem-2`, `stem-3` and so on.
fn numbered(stem: &str) -> impl Iterator<Item = String> {
    (1..).map(move |i| {
        if i == 1 {
            stem.to_owned()
        } else {
            format!("{stem}-{i}")
        }
    })
}

/// The canonical path of a file; the file need not exist, but its folder must.
fn canonical(path: &Path) -> PathBuf {
    let folder = parent(path)
        .canonicalize()
        .unwrap_or_else(|_| parent(path).to_owned());
    folder.join(path.file_name().unwrap_or_default())
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    named(path.parent().unwrap_or(Path::new(".")))
}

/// The empty path stands for the current folder.
fn named(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_folder_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = OutputTarget::Folder(folder.path().join("new"));
        let console = Console::new(true, false);
        let names: Vec<_> = (0..3)
            .map(|_| place.save("a", ".png", b"x", &console).unwrap())
            .collect();
        let names: Vec<_> = names
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.png", "a-2.png", "a-3.png"]);
    }
}
