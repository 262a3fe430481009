//! `ttsvar models fetch`: brings the weights that the program knows by name.

use std::path::Path;

use indicatif::ProgressBar;
use serde_json::json;

use super::{REFUSED, arguments, numbers, progress::bytes_bar, talk::Talk};
use crate::{
    Error, Result,
    hub::{
        Folder, catalog,
        catalog::{Entry, Source},
        fetch::{Hub, Progress, usual_folder},
    },
};

/// Fetches what is named and what goes with it. What cannot be had is said, and the rest is
/// fetched; the exit code tells.
pub(super) fn run(typed: &arguments::Fetch, talk: &Talk) -> Result<u8> {
    let mut wanted: Vec<&Entry> = vec![];
    for name in &typed.names {
        let entries = catalog::with_needs(name);
        if entries.is_empty() {
            let known: Vec<&str> = catalog::ENTRIES.iter().map(|entry| entry.name).collect();
            return Err(Error::input(format!("no weights are known as `{name}`"))
                .with_hint(format!("expected one or more of {}", known.join(", "))));
        }
        for entry in entries {
            if !wanted.iter().any(|other| other.name == entry.name) {
                wanted.push(entry);
            }
        }
    }
    let folder = typed.weights.clone().unwrap_or_else(usual_folder);
    let hub = Hub::new(&folder)?;
    let mut left = 0;
    for entry in wanted {
        if let Err(error) = fetch(&hub, entry, &folder, talk) {
            talk.error_of(&format!("{}: ", entry.name), &error);
            left += 1;
        }
    }
    if left == 0 {
        talk.note(&format!(
            "the files are in {0}; run with `--weights {0}`",
            folder.display()
        ));
    }
    Ok(if left == 0 { 0 } else { REFUSED })
}

/// Fetches the files of one entry.
fn fetch(hub: &Hub, entry: &Entry, folder: &Path, talk: &Talk) -> Result<()> {
    let there = entry.presence(&Folder::Disk(folder.to_owned()));
    if there.iter().all(|file| file.found.is_some()) {
        talk.note(&format!("{}: is there already", entry.name));
        for (file, path) in there
            .iter()
            .filter_map(|file| Some((file.file, file.found.as_ref()?)))
        {
            if talk.json {
                say(talk, entry, file, path)?;
            }
        }
        return Ok(());
    }
    if let Source::Elsewhere(place) = entry.source {
        let missing: Vec<&str> = there
            .iter()
            .filter(|file| file.found.is_none())
            .map(|file| file.file)
            .collect();
        let place = format!("is not on Hugging Face, but published by {place}");
        return Err(Error::input(place).with_hint(format!(
            "download {} there and put it into {} or a sub-folder `{}`",
            missing.join(", "),
            folder.display(),
            entry.name
        )));
    }
    for file in hub.files(entry)? {
        let mut shown = Shown { talk, bar: None };
        let place = hub.fetch(entry, &file, &mut shown)?;
        if let Some(bar) = shown.bar {
            bar.finish_and_clear();
        }
        say(talk, entry, &file, &place)?;
    }
    Ok(())
}

/// Prints where a file is.
fn say(talk: &Talk, entry: &Entry, file: &str, place: &Path) -> Result<()> {
    let bytes = place
        .metadata()
        .map_or(0, |about| if about.is_file() { about.len() } else { 0 });
    talk.result(&if talk.json {
        let (path, name) = (place.display().to_string(), entry.name);
        json!({ "name": name, "file": file, "path": path, "bytes": bytes }).to_string()
    } else {
        format!("{}: {file}, {}", entry.name, numbers::bytes(bytes))
    })
}

/// Shows a download.
struct Shown<'a> {
    talk: &'a Talk,
    bar: Option<ProgressBar>,
}

impl Progress for Shown<'_> {
    fn begin(&mut self, file: &str, bytes: u64) {
        let bar = self
            .bar
            .get_or_insert_with(|| bytes_bar(self.talk, bytes, file));
        bar.set_position(0);
        bar.reset_eta();
    }

    fn came(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }
}
