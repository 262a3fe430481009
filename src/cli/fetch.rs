//! `ttsvar models fetch`: downloads known weights.

use std::path::Path;

use indicatif::ProgressBar;
use serde_json::json;
use ttsvar_search::suggestion::suggest;

use super::{REFUSED, arguments, console::Console, numbers, progress::bytes_bar};
use crate::{
    Error, Result,
    hub::{
        Folder,
        bundle::DEMO_REWARD,
        catalog,
        catalog::{Entry, Source},
        fetch::{Hub, Progress, usual_folder},
    },
    quoting,
};

/// Fetches the named entries and those that belong to them. Entries that cannot be fetched are
/// reported and the rest is fetched; the exit code then signals an error.
pub(super) fn run(typed: &arguments::Fetch, console: &Console) -> Result<u8> {
    let mut wanted: Vec<&Entry> = vec![];
    for name in &typed.names {
        let entries = catalog::with_needs(name);
        if name == DEMO_REWARD {
            return Err(Error::input(format!(
                "the scorer `{name}` belongs to the demo, which is built into this program"
            ))
            .with_hint("there is nothing to fetch; the demo uses it without --scorer"));
        }
        if entries.is_empty() {
            let known: Vec<&str> = catalog::ENTRIES.iter().map(|entry| entry.name).collect();
            return Err(
                Error::input(format!("unknown weights `{name}`")).with_hint(suggest(
                    name,
                    &known,
                    &format!("expected one or more of {}", known.join(", ")),
                )),
            );
        }
        for entry in entries {
            if !wanted.iter().any(|other| other.name == entry.name) {
                wanted.push(entry);
            }
        }
    }
    let folder = typed.weights.clone().unwrap_or_else(usual_folder);
    let hub = Hub::new(&folder)?;
    let mut failed = 0;
    for entry in wanted {
        if let Err(error) = fetch(&hub, entry, &folder, console) {
            console.error_of(&format!("{}: ", entry.name), &error);
            failed += 1;
        }
    }
    if failed == 0 {
        console.note(&format!(
            "the files are in {}; run with `--weights {}`",
            quoting::path(&folder),
            quoting::file_argument(&folder)
        ));
    }
    Ok(if failed == 0 { 0 } else { REFUSED })
}

/// Fetches the files of one entry.
fn fetch(hub: &Hub, entry: &Entry, folder: &Path, console: &Console) -> Result<()> {
    let presence = entry.presence(&Folder::Disk(folder.to_owned()));
    if presence.iter().all(|file| file.found.is_some()) {
        console.note(&format!("{}: already present", entry.name));
        for (file, path) in presence
            .iter()
            .filter_map(|file| Some((file.file, file.found.as_ref()?)))
        {
            if console.json {
                print_file(console, entry, file, path)?;
            }
        }
        return Ok(());
    }
    if let Source::Elsewhere(place) = entry.source {
        let missing: Vec<&str> = presence
            .iter()
            .filter(|file| file.found.is_none())
            .map(|file| file.file)
            .collect();
        let place = format!("is not on Hugging Face; it is published by {place}");
        return Err(Error::input(place).with_hint(format!(
            "download {} there and put it into {} or its sub-folder `{}`",
            missing.join(", "),
            folder.display(),
            entry.name
        )));
    }
    for file in hub.files(entry)? {
        let mut progress = DownloadBar { console, bar: None };
        let place = hub.fetch(entry, &file, &mut progress)?;
        if let Some(bar) = progress.bar {
            bar.finish_and_clear();
        }
        print_file(console, entry, &file, &place)?;
    }
    Ok(())
}

/// Prints the path of a file.
fn print_file(console: &Console, entry: &Entry, file: &str, place: &Path) -> Result<()> {
    let bytes = place
        .metadata()
        .map_or(0, |about| if about.is_file() { about.len() } else { 0 });
    console.result(&if console.json {
        let path = place.display().to_string();
        json!({ "name": entry.name, "file": file, "path": path, "bytes": bytes }).to_string()
    } else {
        format!("{}: {file}, {}", entry.name, numbers::bytes(bytes))
    })
}

/// The progress bar of a download.
struct DownloadBar<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
}

impl Progress for DownloadBar<'_> {
    fn begin(&mut self, file: &str, bytes: u64) {
        let bar = self
            .bar
            .get_or_insert_with(|| bytes_bar(self.console, bytes, file));
        bar.set_position(0);
        bar.reset_eta();
    }

    fn came(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }
}
