//! Pictures that were made elsewhere, in the folders that GenEval's own program expects:
//! `00000/metadata.jsonl` and `00000/samples/0000.png`, one numbered folder a prompt.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::prompts::{self, Metadata};
use crate::{Error, Result, eval::shown::other_pictures};

/// What such a folder holds.
#[derive(Clone, Debug)]
pub struct PictureFolder {
    /// The prompts by their numbers.
    pub prompts: BTreeMap<usize, Metadata>,
    /// The pictures, prompt by prompt.
    pub pictures: Vec<Picture>,
    /// What is missing or wrong, a line each. The rest can be judged.
    pub faults: Vec<String>,
}

/// A picture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Number of its prompt.
    pub number: usize,
    /// Which of several for this prompt.
    pub sample: usize,
    /// Where it is.
    pub path: PathBuf,
}

impl PictureFolder {
    /// Looks what there is. `known` are the prompts by their numbers if they were read elsewhere; a
    /// folder then needs no metadata of its own, and must not contradict.
    ///
    /// # Errors
    /// It is no folder, or there is nothing in it to judge.
    pub fn read(path: &Path, known: Option<&[Metadata]>) -> Result<Self> {
        const HINT: &str =
            "GenEval's folders are DIR/00000/metadata.jsonl and DIR/00000/samples/0000.png";
        let mut all = Self {
            prompts: BTreeMap::new(),
            pictures: vec![],
            faults: vec![],
        };
        let numbered = numbered(path, true)?;
        for (number, folder) in &numbered {
            if let Err(error) = all.add(*number, folder, known) {
                all.faults
                    .push(format!("{error}: its pictures are left out"));
            }
        }
        if all.pictures.is_empty() {
            let fault = all
                .faults
                .first()
                .map_or_else(String::new, |fault| format!(" ({fault})"));
            return Err(
                Error::file(path, format!("holds no picture that can be judged{fault}"))
                    .with_hint(HINT),
            );
        }
        all.faults
            .extend(gaps(path, &numbered, known.map(<[_]>::len)));
        Ok(all)
    }

    fn add(&mut self, number: usize, folder: &Path, known: Option<&[Metadata]>) -> Result<()> {
        let metadata = metadata(number, folder, known)?;
        let samples = folder.join("samples");
        let pictures = if samples.is_dir() {
            numbered(&samples, false)?
        } else {
            vec![]
        };
        self.faults.extend(other_pictures(&samples));
        if pictures.is_empty() {
            self.faults
                .push(format!("{}: holds no picture", samples.display()));
        }
        self.pictures
            .extend(pictures.into_iter().map(|(sample, path)| Picture {
                number,
                sample,
                path,
            }));
        self.prompts.insert(number, metadata);
        Ok(())
    }
}

/// What the pictures in a folder should show.
fn metadata(number: usize, folder: &Path, known: Option<&[Metadata]>) -> Result<Metadata> {
    let path = folder.join("metadata.jsonl");
    let Some(known) = known else {
        let mut lines = prompts::read(&path)?;
        return Ok(lines.swap_remove(0));
    };
    let expected = known.get(number);
    let expected = expected
        .ok_or_else(|| Error::file(folder, format!("there are {} prompts only", known.len())))?;
    match path
        .exists()
        .then(|| prompts::read(&path))
        .transpose()?
        .as_deref()
    {
        Some([own, ..]) if own.prompt != expected.prompt || own.line != expected.line => {
            Err(Error::file(
                &path,
                format!(
                    "is about `{}`, line {} of the prompts about `{}`",
                    own.prompt,
                    number + 1,
                    expected.prompt
                ),
            ))
        }
        _ => Ok(expected.clone()),
    }
}

/// Folders, or PNG files, whose names are numbers, in the order of those.
fn numbered(path: &Path, folders: bool) -> Result<Vec<(usize, PathBuf)>> {
    let mut found = vec![];
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let path = entry.map_err(Error::io(path))?.path();
        let fits = if folders {
            path.is_dir()
        } else {
            path.extension().is_some_and(|end| end == "png")
        };
        let name = if folders {
            path.file_name()
        } else {
            path.file_stem()
        };
        let digits = name
            .and_then(|name| name.to_str())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        found.extend(
            digits
                .and_then(|digits| digits.parse().ok())
                .filter(|_| fits)
                .map(|number| (number, path.clone())),
        );
    }
    found.sort();
    found.dedup_by_key(|(number, _)| *number); // `1.png` and `0001.png`
    Ok(found)
}

/// The prompts that have no folder: of so many, or up to the last that has one.
fn gaps(path: &Path, numbered: &[(usize, PathBuf)], count: Option<usize>) -> Option<String> {
    let count = count.unwrap_or_else(|| {
        numbered
            .last()
            .map_or(0, |(number, _)| number.saturating_add(1))
    });
    let there = numbered
        .iter()
        .filter(|(number, _)| *number < count)
        .count();
    let first = numbered
        .iter()
        .enumerate()
        .find(|(i, (number, _))| i != number)
        .map_or(numbered.len(), |(i, _)| i);
    (there < count).then(|| {
        let without = count - there;
        let have = if without == 1 { "has" } else { "have" };
        format!(
            "{}: {without} of {count} prompts {have} no folder, the first {first:05}",
            path.display()
        )
    })
}
