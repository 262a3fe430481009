//! The report of a finished job: its trace and its stored images as one self-contained page.

use std::fmt::Display;

use ttsvar_search::Trace;

use super::{
    contact_sheet::ContactSheet,
    event_log::EventLog,
    store::{EVENTS, IMAGE, Store, TRACE},
};
use crate::{
    Error, Result,
    image::Png,
    report::{Album, html},
};

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
    let whole = Png::decode(&bytes).ok().filter(|_| fits);
    match whole.and_then(|whole| sheet.cut(&whole.image)) {
        Some(images) => album.add(sheet.scale, &sheet.ids, &images),
        None => tracing::warn!(
            job = id,
            sheet = sheet.sheet,
            "skipped a damaged contact sheet"
        ),
    }
    Ok(())
}
