//! Images that other programs generated, evaluated into the same records as those of a search.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use ttsvar_search::Plan;

use super::{Contender, ResultRecord, Suite};
use crate::{
    Error, Result,
    image::{self, is_other_image_format},
};

/// An image file for a prompt of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalImage {
    /// Place of the prompt in the suite.
    pub case: usize,
    /// Number of the sample of this prompt.
    pub sample: usize,
    /// Path of the file.
    pub path: PathBuf,
}

/// Number of images in memory at once.
const BATCH: usize = 8;

/// A warning about the images of a folder that are not PNG files, if there are any.
pub fn unread_images(folder: &Path) -> Option<String> {
    let count = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|entry| is_other_image_format(&entry.path()))
        .count();
    (count > 0).then(|| {
        format!(
            "{}: {count} files skipped: only PNG files are read",
            folder.display()
        )
    })
}

/// The contender that stands for the program that generated the images.
///
/// # Errors
/// Never: the plan is valid.
pub fn contender(name: &str) -> Result<Contender> {
    Ok(Contender {
        method: name.to_owned(),
        n: 1,
        plan: Plan::best_of_n(1, 1)?,
    })
}

/// Evaluates the images of a contender that have no record in `known`, batch by batch. `keep`
/// receives each record; `lost` is called for files that are not images.
///
/// # Errors
/// Evaluating or keeping a record fails.
pub fn evaluate(
    suite: &dyn Suite,
    contender: &Contender,
    images: &[ExternalImage],
    known: &[ResultRecord],
    mut keep: impl FnMut(ResultRecord) -> Result<()>,
    mut lost: impl FnMut(&Path, &Error),
) -> Result<()> {
    let done: HashSet<_> = known
        .iter()
        .filter(|r| contender.is(&r.method, r.n))
        .map(|record| (record.case, record.sample))
        .collect();
    let open: Vec<&ExternalImage> = images
        .iter()
        .filter(|image| !done.contains(&(image.case, image.sample)))
        .collect();
    for batch in open.chunks(BATCH) {
        let mut files = vec![];
        let mut pixels = vec![];
        for file in batch {
            match image::open(&file.path) {
                Ok(image) => {
                    files.push(*file);
                    pixels.push(image);
                }
                Err(error) => lost(&file.path, &error),
            }
        }
        if files.is_empty() {
            continue;
        }
        let cases: Vec<usize> = files.iter().map(|file| file.case).collect();
        for (file, verdict) in files.iter().zip(suite.evaluate_batch(&cases, &pixels)?) {
            let case = (file.case, &suite.cases()[file.case]);
            keep(ResultRecord::external(
                case,
                file.sample,
                contender,
                verdict,
            ))?;
        }
    }
    Ok(())
}
