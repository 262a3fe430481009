//! Images that other programs generated, evaluated into the same records as those of a search.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use serde_json::Map;
use ttsvar_search::{Image, Plan};

use super::{Contender, ResultRecord, Suite};
use crate::{
    Error, Result,
    image::{self, ImageFolder, MAX_PIXELS},
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

/// Number of images in memory at once, unless they are so large that fewer reach [`MAX_PIXELS`].
const BATCH: usize = 8;

/// The images of a folder, by the numbers in their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberedImages {
    /// One file per number.
    pub files: BTreeMap<usize, PathBuf>,
    /// What was left out, one line per reason.
    pub faults: Vec<String>,
}

impl NumberedImages {
    /// Lists a folder; `number` reads the number in a file name without its ending. Of several files
    /// with the same number, the first that can be read counts.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn read(folder: &Path, number: impl Fn(&str) -> Option<usize>) -> Result<Self> {
        let listed = ImageFolder::read(folder)?;
        let mut all = Self::default();
        let mut unnumbered = vec![];
        let mut groups: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
        for path in &listed.images {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            match number(&stem) {
                Some(number) => groups.entry(number).or_default().push(path.clone()),
                None => unnumbered.push(path.clone()),
            }
        }
        let mut duplicates = vec![];
        for (number, mut group) in groups {
            let readable = match group.len() {
                1 => 0,
                _ => group
                    .iter()
                    .position(|path| image::open(path).is_ok())
                    .unwrap_or(0),
            };
            all.files.insert(number, group.swap_remove(readable));
            group.sort();
            duplicates.extend(group);
        }
        all.faults.extend(listed.left_out(folder));
        all.skipped(folder, &unnumbered, "no number in the name");
        all.skipped(folder, &duplicates, "another image has the same number");
        Ok(all)
    }

    /// Reports files that were left out.
    fn skipped(&mut self, folder: &Path, files: &[PathBuf], reason: &str) {
        const MOST: usize = 3;
        if files.is_empty() {
            return;
        }
        let name = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("`{}`", name.escape_debug())
        };
        let mut names: Vec<String> = files.iter().take(MOST).map(name).collect();
        if files.len() > MOST {
            names.push("...".to_owned());
        }
        let count = files.len();
        let noun = if count == 1 { "file" } else { "files" };
        self.faults.push(format!(
            "{}: {count} {noun} skipped: {reason}: {}",
            folder.display(),
            names.join(", ")
        ));
    }
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
        settings: Map::new(),
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
    let mut files: Vec<&ExternalImage> = vec![];
    let mut images: Vec<Image> = vec![];
    for (i, file) in open.iter().enumerate() {
        match image::open(&file.path) {
            Ok(image) => {
                files.push(file);
                images.push(image);
            }
            Err(error) => lost(&file.path, &error),
        }
        let pixels: usize = images.iter().map(|one| one.width() * one.height()).sum();
        if images.len() < BATCH && pixels < MAX_PIXELS && i + 1 < open.len() || files.is_empty() {
            continue;
        }
        let cases: Vec<usize> = files.iter().map(|file| file.case).collect();
        for (file, verdict) in files.iter().zip(suite.evaluate_batch(&cases, &images)?) {
            let case = (file.case, &suite.cases()[file.case]);
            keep(ResultRecord::external(
                case,
                file.sample,
                contender,
                verdict,
            ))?;
        }
        files.clear();
        images.clear();
    }
    Ok(())
}
