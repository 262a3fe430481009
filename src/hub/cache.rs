//! Revisions in a Hugging Face cache: `models--OWNER--NAME/snapshots/REVISION`.

use std::{collections::HashSet, path::Path};

use super::blob::{Folder, Location};

/// The snapshots to search in the cache of a repository: the one that `refs/main` names, as
/// huggingface_hub does, or all of them if there is no such reference.
pub(super) fn snapshots(repository: &Folder) -> Vec<Folder> {
    let Some(Location::Folder(snapshots)) = repository.find("snapshots") else {
        return vec![];
    };
    match current_revision(repository) {
        Some(current) => vec![current],
        None => snapshots.folders(),
    }
}

/// The snapshot that `refs/main` names.
fn current_revision(repository: &Folder) -> Option<Folder> {
    let main = repository.file("refs/main")?.text().ok()?;
    match repository.find(&format!("snapshots/{}", main.trim())) {
        Some(Location::Folder(snapshot)) => Some(snapshot),
        _ => None,
    }
}

/// The folder of the revision that a file in a cache belongs to.
fn revision(file: &Path) -> Option<&Path> {
    file.ancestors().find(|folder| {
        let above = folder.parent();
        above.is_some_and(|above| above.ends_with("snapshots"))
    })
}

/// Returns whether no two of these files come from different revisions.
pub(super) fn are_of_one_revision<'p>(files: impl IntoIterator<Item = &'p Path>) -> bool {
    let revisions: HashSet<&Path> = files.into_iter().filter_map(revision).collect();
    revisions.len() <= 1
}

/// Reports a file that was read from one of several revisions of a Hugging Face cache of which none
/// is marked as current.
pub fn unmarked_revision(file: &Path) -> Option<String> {
    let snapshot = revision(file)?;
    let repository = Folder::Disk(snapshot.parent()?.parent()?.to_owned());
    let Some(Location::Folder(snapshots)) = repository.find("snapshots") else {
        return None;
    };
    let revisions = snapshots.folders().len();
    if revisions < 2 || current_revision(&repository).is_some() {
        return None;
    }
    Some(format!(
        "{}: using this one of {revisions} revisions, because refs/main names none of them",
        snapshot.display()
    ))
}
