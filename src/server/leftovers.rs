//! Files that a killed server left unfinished. The next start removes them.

use std::{collections::HashSet, fs, path::Path};

use super::store::IMAGE;
use crate::file;

/// Removes partly written files in the folder of a server, and the previews of jobs that have no
/// image. `done` has the ids of the jobs that have one. A folder that the index does not know is
/// removed if it has no image.
///
/// What cannot be removed is logged: it takes up space, but harms nothing.
pub(super) fn remove(folder: &Path, done: &HashSet<String>) {
    let mut removed = remove_files(folder, file::is_partial);
    for job in entries(&folder.join("jobs")) {
        removed += remove_files(&job, file::is_partial);
        let id = job.file_name().and_then(|name| name.to_str());
        if id.is_some_and(|id| !done.contains(id)) && !job.join(IMAGE).exists() {
            removed += remove_previews(&job);
            let _ = fs::remove_dir(&job); // Fails if anything else is there
        }
    }
    if removed > 0 {
        tracing::info!(
            files = removed,
            "removed what the previous run left unfinished"
        );
    }
}

/// Removes the contact sheets in the folder of a job. Returns their number.
pub(super) fn remove_previews(job: &Path) -> usize {
    remove_files(job, |name| {
        name.starts_with("previews-") && name.ends_with(".png")
    })
}

fn remove_files(folder: &Path, wanted: impl Fn(&str) -> bool) -> usize {
    let mut removed = 0;
    for path in entries(folder) {
        let name = path.file_name().and_then(|name| name.to_str());
        let is_file = fs::symlink_metadata(&path).is_ok_and(|about| about.is_file());
        if !is_file || !name.is_some_and(&wanted) {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) => {
                let path = path.display().to_string();
                tracing::warn!(path, %error, "cannot remove a leftover file");
            }
        }
    }
    removed
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![];
    };
    entries.flatten().map(|entry| entry.path()).collect()
}
