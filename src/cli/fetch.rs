//! `ttsvar models fetch`: downloads known weights.

use std::path::Path;

use indicatif::ProgressBar;
use serde_json::json;

use super::{REFUSED, arguments, console::Console, numbers, progress::bytes_bar};
use crate::{
    Error, Result,
    hub::{
        Folder, catalog,
        catalog::Entry,
        fetch::{Hub, Progress, usual_folder},
        released::DEMO_REWARD,
    },
    quoting,
    system::DEMO,
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
        if name == DEMO {
            return Err(Error::input(format!(
                "`{name}` is built into this program; there is nothing to download"
            ))
            .with_hint("`ttsvar models` lists what can be downloaded"));
        }
        if entries.is_empty() {
            let known: Vec<&str> = catalog::ENTRIES.iter().map(|entry| entry.name).collect();
            return Err(
                Error::input(format!("unknown model or scorer `{name}`")).with_hint(
                    catalog::suggest_name(name, &known, "`ttsvar models` lists them"),
                ),
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
    let Some(files) = entry.complete_in(&Folder::Disk(folder.to_owned())) else {
        return hub.fetch_all(entry, &mut DownloadBar { console, bar: None });
    };
    console.note(&format!("{}: already present", entry.name));
    if console.json {
        for (file, path) in files {
            print_file(console, entry, &file, &path)?;
        }
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

/// The progress bar of the file that is being downloaded.
struct DownloadBar<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
}

impl Progress for DownloadBar<'_> {
    fn begin(&mut self, file: &str, bytes: u64) -> Result<()> {
        let bar = self
            .bar
            .get_or_insert_with(|| bytes_bar(self.console, bytes, file));
        bar.set_position(0);
        bar.reset_eta();
        Ok(())
    }

    fn came(&mut self, bytes: u64) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
        Ok(())
    }

    fn arrived(&mut self, entry: &Entry, file: &str, place: &Path) -> Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        print_file(self.console, entry, file, place)
    }
}
