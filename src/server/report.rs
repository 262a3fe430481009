//! The report of a finished job: its trace and its stored images as one self-contained page.

use std::fmt::Display;

use serde::Deserialize;
use ttsvar_search::{Image, Trace};

use super::{
    event_log::EventLog,
    store::{EVENTS, IMAGE, Store, TRACE},
};
use crate::{
    Error, Result,
    image::Png,
    report::{Album, html},
};

/// A contact sheet, as a `previews` event describes it.
#[derive(Deserialize)]
struct ContactSheet {
    scale: usize,
    /// The candidates, from left to right.
    ids: Vec<usize>,
    sheet: usize,
}

/// Returns the report of a job, or `None` if it has no image.
///
/// # Errors
/// A file of the job cannot be read or is damaged.
pub(super) fn page(store: &Store, id: &str) -> Result<Option<String>> {
    let Some(trace) = store.read(id, TRACE)? else {
        return Ok(None);
    };
    let Some(image) = store.read(id, IMAGE)? else {
        return Ok(None);
    };
    let damaged =
        |error: &dyn Display| Error::system(format!("the files of job {id} are damaged: {error}"));
    let trace =
        Trace::from_json(&String::from_utf8_lossy(&trace)).map_err(|error| damaged(&error))?;
    let events = store.read(id, EVENTS)?.unwrap_or_default();
    let mut album = Album::default();
    for entry in EventLog::parse(&String::from_utf8_lossy(&events)) {
        if entry.event != "previews" {
            continue;
        }
        match serde_json::from_value(entry.data) {
            Ok(sheet) => add_sheet(&mut album, &trace, store, id, &sheet)?,
            Err(error) => tracing::warn!(job = id, %error, "skipped a damaged event"),
        }
    }
    album.crown(&Png::decode(&image).map_err(|error| damaged(&error))?.image);
    html::search::page(&trace, &album).map(Some)
}

/// Cuts a contact sheet into the images of its candidates and adds them to the album. A sheet that
/// does not fit the trace or cannot be read is left out.
fn add_sheet(
    album: &mut Album,
    trace: &Trace,
    store: &Store,
    id: &str,
    sheet: &ContactSheet,
) -> Result<()> {
    let Some(bytes) = store.read(id, &Store::sheet_name(sheet.sheet))? else {
        return Ok(());
    };
    let known = |id: &usize| *id < trace.candidates.len();
    let fits = sheet.scale < trace.scales.len() && sheet.ids.iter().all(known);
    let count = sheet.ids.len();
    let whole = match Png::decode(&bytes) {
        Ok(png) if fits && count > 0 && png.image.width() >= count => png.image,
        _ => {
            tracing::warn!(
                job = id,
                sheet = sheet.sheet,
                "skipped a damaged contact sheet"
            );
            return Ok(());
        }
    };
    let width = whole.width() / count;
    let height = whole.height();
    let images: Vec<Image> = (0..count)
        .map(|column| whole.crop(column * width, 0, width, height))
        .collect();
    album.add(sheet.scale, &sheet.ids, &images);
    Ok(())
}
