//! Pictures that were made elsewhere, judged into the same records as those that a search paints.

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

/// A picture file for a prompt of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Place of the prompt in the suite.
    pub case: usize,
    /// Which of several for this prompt.
    pub sample: usize,
    /// Where it is.
    pub path: PathBuf,
}

/// Pictures that are in memory at once.
const TOGETHER: usize = 8;

/// What is said of a folder with pictures that are no PNG files.
pub fn other_pictures(folder: &Path) -> Option<String> {
    let count = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|entry| is_other_image_format(&entry.path()))
        .count();
    (count > 0).then(|| {
        format!(
            "{}: left out since only PNG files are read: {count}",
            folder.display()
        )
    })
}

/// What stands in tables for whoever made the pictures.
///
/// # Errors
/// Never; plans are checked.
pub fn contender(name: &str) -> Result<Contender> {
    Ok(Contender {
        method: name.to_owned(),
        n: 1,
        plan: Plan::best_of_n(1, 1)?,
    })
}

/// Judges the pictures of a contender that `known` does not hold, some at a time. `keep` gets each
/// record as soon as it is there; `lost` hears of files that are no pictures.
///
/// # Errors
/// Whatever judging and keeping fail with.
pub fn judge(
    suite: &dyn Suite,
    contender: &Contender,
    shown: &[Shown],
    known: &[ResultRecord],
    mut keep: impl FnMut(ResultRecord) -> Result<()>,
    mut lost: impl FnMut(&Path, &Error),
) -> Result<()> {
    let done: HashSet<_> = known
        .iter()
        .filter(|r| contender.is(&r.method, r.n))
        .map(|record| (record.case, record.sample))
        .collect();
    let open: Vec<&Shown> = shown
        .iter()
        .filter(|one| !done.contains(&(one.case, one.sample)))
        .collect();
    for some in open.chunks(TOGETHER) {
        let (mut read, mut images) = (vec![], vec![]);
        for one in some {
            match image::open(&one.path) {
                Ok(image) => {
                    read.push(*one);
                    images.push(image);
                }
                Err(error) => lost(&one.path, &error),
            }
        }
        if read.is_empty() {
            continue;
        }
        let cases: Vec<usize> = read.iter().map(|one| one.case).collect();
        for (one, verdict) in read.iter().zip(suite.judge_together(&cases, &images)?) {
            keep(ResultRecord::shown(
                (one.case, &suite.cases()[one.case]),
                one.sample,
                contender,
                verdict,
            ))?;
        }
    }
    Ok(())
}
