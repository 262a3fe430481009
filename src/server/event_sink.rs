//! The listener of a running search: logs its events as JSON, stores its images as contact sheets,
//! and stops it when it has to end.

use std::time::Instant;

use serde_json::json;
use ttsvar_search::{Event, Image, Listener};

use super::{
    contact_sheet::{self, ContactSheet},
    scheduler::{SearchJob, StopReason},
    store::Store,
};
use crate::{Result, image::Png};

/// Receives the events of one search.
pub(super) struct EventSink<'a> {
    pub search: &'a SearchJob,
    pub store: &'a Store,
    /// The time at which the search has taken too long.
    pub deadline: Option<Instant>,
    /// Number of contact sheets so far.
    pub sheets: usize,
}

impl Listener for EventSink<'_> {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() > deadline)
        {
            self.search.stop(StopReason::TimedOut);
        }
        if self.search.stop_reason().is_some() {
            return Err(ttsvar_search::Error::Interrupted);
        }
        if let Event::Decoded { scale, ids, images } = event {
            self.add_sheet(*scale, ids, images)?;
            return Ok(());
        }
        self.search.log.push(event.name(), event.to_json());
        Ok(())
    }

    fn wants_images(&self, scale: usize) -> bool {
        let request = &self.search.request;
        let partial = &request.partial_scales;
        request.previews || (self.sheets < partial.len() && partial.contains(&scale))
    }
}

impl EventSink<'_> {
    /// Stores the images of a scale as a contact sheet and logs its number.
    fn add_sheet(&mut self, scale: usize, ids: &[usize], images: &[Image]) -> Result<()> {
        if !self.wants_images(scale) || images.is_empty() {
            return Ok(());
        }
        let sheet = self.sheets;
        let png = Png::new(contact_sheet::draw(images)).encode()?;
        self.store
            .write(&self.search.id, &Store::sheet_name(sheet), &png)?;
        self.sheets += 1;
        let ids = ids.to_vec();
        let data = ContactSheet { scale, ids, sheet };
        self.search.log.push("previews", json!(data));
        Ok(())
    }
}
