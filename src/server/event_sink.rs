//! The listener of a running search: logs its events as JSON, stores its images as contact sheets,
//! and stops it when it has to end.

use std::time::Instant;

use serde_json::json;
use ttsvar_search::{Event, Image, Listener};

use super::{
    scheduler::{SearchJob, StopReason},
    store::Store,
};
use crate::{
    Result,
    image::{Filter, Png, Resize},
};

/// Pixels along the shorter side of an image on a contact sheet, enough for the page.
const THUMBNAIL_SIDE: usize = 256;

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

    fn wants_images(&self, _: usize) -> bool {
        self.search.request.previews
    }
}

impl EventSink<'_> {
    /// Stores the images of a scale as a contact sheet and logs its number.
    fn add_sheet(&mut self, scale: usize, ids: &[usize], images: &[Image]) -> Result<()> {
        if !self.search.request.previews || images.is_empty() {
            return Ok(());
        }
        let sheet = self.sheets;
        let png = Png::new(contact_sheet(images)).encode()?;
        self.store
            .write(&self.search.id, &Store::sheet_name(sheet), &png)?;
        self.sheets += 1;
        let data = json!({
            "scale": scale,
            "ids": ids,
            "sheet": sheet,
        });
        self.search.log.push("previews", data);
        Ok(())
    }
}

/// Places images of one size side by side, large ones scaled down.
fn contact_sheet(images: &[Image]) -> Image {
    let thumbnails: Vec<Image> = images.iter().map(thumbnail).collect();
    let width = thumbnails[0].width();
    let height = thumbnails[0].height();
    let mut pixels = Vec::with_capacity(3 * thumbnails.len() * width * height);
    for y in 0..height {
        for image in &thumbnails {
            pixels.extend_from_slice(&image.pixels()[3 * y * width..3 * (y + 1) * width]);
        }
    }
    Image::new(thumbnails.len() * width, height, pixels)
}

/// The image, scaled down if it is large.
fn thumbnail(image: &Image) -> Image {
    if image.width().min(image.height()) > THUMBNAIL_SIDE {
        image.resize_shorter_side(THUMBNAIL_SIDE, Filter::Bicubic)
    } else {
        image.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_sheet_has_the_images_from_left_to_right() {
        let image = |value: u8| Image::new(2, 2, vec![value; 12]);
        let sheet = contact_sheet(&[image(1), image(2), image(3)]);
        assert_eq!((sheet.width(), sheet.height()), (6, 2));
        let reds: Vec<u8> = sheet.pixels().iter().step_by(3).copied().collect();
        assert_eq!(reds, [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn large_images_are_scaled_down_on_a_contact_sheet() {
        let sheet = contact_sheet(&[Image::new(1024, 512, vec![7; 3 * 1024 * 512])]);
        assert_eq!((sheet.width(), sheet.height()), (512, 256));
    }
}
