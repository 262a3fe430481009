//! Images in the folder layout of GenEval's own program: `00000/metadata.jsonl` and
//! `00000/samples/0000.png`, one numbered folder per prompt.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::prompts::{self, Metadata};
use crate::{Error, Result, eval::external::unread_images};

/// The contents of such a folder.
#[derive(Clone, Debug)]
pub struct GenEvalFolder {
    /// The prompts by their numbers.
    pub prompts: BTreeMap<usize, Metadata>,
    /// The images, prompt by prompt.
    pub images: Vec<NumberedImage>,
    /// Problems, one line each. The rest can be evaluated.
    pub faults: Vec<String>,
}

/// An image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedImage {
    /// Number of its prompt.
    pub number: usize,
    /// Number of the sample of this prompt.
    pub sample: usize,
    /// Path of the file.
    pub path: PathBuf,
}

impl GenEvalFolder {
    /// Reads a folder. `known` are the prompts by number if they are already known; metadata in the
    /// folder is then optional and must agree.
    ///
    /// # Errors
    /// It is not a folder, or it has no images to evaluate.
    pub fn read(path: &Path, known: Option<&[Metadata]>) -> Result<Self> {
        const HINT: &str =
            "GenEval's folders are DIR/00000/metadata.jsonl and DIR/00000/samples/0000.png";
        let mut all = Self {
            prompts: BTreeMap::new(),
            images: vec![],
            faults: vec![],
        };
        let numbered = numbered(path, true)?;
        for (number, folder) in &numbered {
            if let Err(error) = all.add(*number, folder, known) {
                all.faults.push(format!("{error}: its images are skipped"));
            }
        }
        if all.images.is_empty() {
            let fault = all
                .faults
                .first()
                .map_or_else(String::new, |fault| format!(" ({fault})"));
            return Err(Error::file(
                path,
                format!("contains no image that can be evaluated{fault}"),
            )
            .with_hint(HINT));
        }
        all.faults
            .extend(gaps(path, &numbered, known.map(<[_]>::len)));
        Ok(all)
    }

    fn add(&mut self, number: usize, folder: &Path, known: Option<&[Metadata]>) -> Result<()> {
        let metadata = metadata(number, folder, known)?;
        let samples = folder.join("samples");
        let images = if samples.is_dir() {
            numbered(&samples, false)?
        } else {
            vec![]
        };
        self.faults.extend(unread_images(&samples));
        if images.is_empty() {
            self.faults
                .push(format!("{}: contains no image", samples.display()));
        }
        for (sample, path) in images {
            self.images.push(NumberedImage {
                number,
                sample,
                path,
            });
        }
        self.prompts.insert(number, metadata);
        Ok(())
    }
}

/// The prompt of the images in a folder.
fn metadata(number: usize, folder: &Path, known: Option<&[Metadata]>) -> Result<Metadata> {
    let path = folder.join("metadata.jsonl");
    let Some(known) = known else {
        let mut lines = prompts::read(&path)?;
        return Ok(lines.swap_remove(0));
    };
    let expected = known.get(number);
    let expected = expected
        .ok_or_else(|| Error::file(folder, format!("there are only {} prompts", known.len())))?;
    match path
        .exists()
        .then(|| prompts::read(&path))
        .transpose()?
        .as_deref()
    {
        Some([found, ..]) if found.prompt != expected.prompt || found.line != expected.line => {
            let message = format!(
                "expected `{}` as in line {} of the prompts, found `{}`",
                expected.prompt,
                number + 1,
                found.prompt
            );
            Err(Error::file(&path, message))
        }
        _ => Ok(expected.clone()),
    }
}

/// Folders or PNG files whose names are numbers, in numerical order.
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

/// Reports prompts without a folder: of `count`, or up to the last prompt that has one.
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
            "{}: {without} of {count} prompts {have} no folder; the first is {first:05}",
            path.display()
        )
    })
}
