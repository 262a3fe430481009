//! The report of a finished job: its trace and the pictures that were kept, as one page that needs
//! nothing else.

use serde::Deserialize;
use ttsvar_search::Trace;

use super::{
    log::Log,
    store::{EVENTS, IMAGE, Store, TRACE},
};
use crate::{
    Error, Result,
    image::Png,
    report::{Album, html},
};

/// What an event says of a sheet of previews.
#[derive(Deserialize)]
struct Sheet {
    scale: usize,
    /// The candidates, from left to right.
    ids: Vec<usize>,
    sheet: usize,
}

/// The report of a job; none where there is no image.
///
/// # Errors
/// A file of the job cannot be read or is damaged.
pub(super) fn page(store: &Store, id: &str) -> Result<Option<String>> {
    let (Some(trace), Some(image)) = (store.read(id, TRACE)?, store.read(id, IMAGE)?) else {
        return Ok(None);
    };
    let trace = Trace::from_json(&String::from_utf8_lossy(&trace))?;
    let events = store.read(id, EVENTS)?.unwrap_or_default();
    let mut album = Album::default();
    for entry in Log::read(&String::from_utf8_lossy(&events))
        .into_iter()
        .filter(|entry| entry.event == "previews")
    {
        let sheet = serde_json::from_value(entry.data);
        let sheet = sheet.map_err(|error| {
            Error::input(format!("the events of job {id} are damaged: {error}"))
        })?;
        put(&mut album, store, id, &sheet)?;
    }
    album.crown(&Png::decode(&image)?.image);
    html::search::page(&trace, &album).map(Some)
}

/// Cuts a sheet into the pictures of its candidates.
fn put(album: &mut Album, store: &Store, id: &str, sheet: &Sheet) -> Result<()> {
    let Some(bytes) = store.read(id, &Store::sheet(sheet.sheet))? else {
        return Ok(());
    };
    let whole = Png::decode(&bytes)?.image;
    let (count, height) = (sheet.ids.len().max(1), whole.height());
    let width = whole.width() / count;
    let pictures: Vec<_> = (0..count)
        .map(|place| whole.crop(place * width, 0, width, height))
        .collect();
    album.add(sheet.scale, &sheet.ids, &pictures);
    Ok(())
}
