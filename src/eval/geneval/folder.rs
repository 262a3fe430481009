//! Images in the folder layout of GenEval's own program: `00000/metadata.jsonl` and
//! `00000/samples/0000.png`, one numbered folder per prompt.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::prompts::{self, Metadata};
use crate::{Error, Result, eval::external::NumberedImages, file::is_hidden};

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
        let numbered = numbered_folders(path, &mut all.faults)?;
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
        let images = match samples.is_dir() {
            true => NumberedImages::read(&samples, digits)?,
            false => NumberedImages::default(),
        };
        self.faults.extend(images.faults);
        if images.files.is_empty() {
            self.faults
                .push(format!("{}: contains no image", samples.display()));
        }
        for (sample, path) in images.files {
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
        return prompts::read_one(&path);
    };
    let expected = known.get(number);
    let expected = expected
        .ok_or_else(|| Error::file(folder, format!("there are only {} prompts", known.len())))?;
    if !path.exists() {
        return Ok(expected.clone());
    }
    let found = prompts::read_one(&path)?;
    if found.prompt == expected.prompt && found.line == expected.line {
        return Ok(found);
    }
    let message = format!(
        "expected `{}` as in line {} of the prompts, found `{}`",
        expected.prompt,
        number + 1,
        found.prompt
    );
    Err(Error::file(&path, message))
}

/// Folders whose names are numbers, in numerical order.
fn numbered_folders(path: &Path, faults: &mut Vec<String>) -> Result<Vec<(usize, PathBuf)>> {
    let mut found = vec![];
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let folder = entry.map_err(Error::io(path))?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if let Some(number) = digits(&name)
            && folder.is_dir()
            && !is_hidden(&folder)
        {
            found.push((number, folder.clone()));
        }
    }
    // Of `1` and `00001`, the name that GenEval's own program gives comes first.
    let usual = |number: usize, folder: &Path| folder.ends_with(format!("{number:05}"));
    found.sort_by_key(|(number, folder)| (*number, !usual(*number, folder), folder.clone()));
    let mut kept: Vec<(usize, PathBuf)> = vec![];
    for (number, folder) in found {
        match kept.last() {
            Some((before, used)) if *before == number => faults.push(format!(
                "{}: skipped: `{}` has the same number",
                folder.display(),
                used.file_name().unwrap_or_default().to_string_lossy()
            )),
            _ => kept.push((number, folder)),
        }
    }
    Ok(kept)
}

/// The number that a name consists of.
fn digits(name: &str) -> Option<usize> {
    let only_digits = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| only_digits)
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
