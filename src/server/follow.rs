//! Hears a search for those who watch its job: events as JSON, pictures as sheets of one row, and
//! the wish to stop.

use std::time::Instant;

use serde_json::json;
use ttsvar_search::{Event, Image, Listener};

use super::{
    desk::{Stop, Work},
    store::Store,
};
use crate::{
    Result,
    image::{Filter, Png, Resize},
};

/// Pixels along the shorter side of a picture on a sheet: enough for a page.
const SHOWN: usize = 256;

/// Follows one search.
pub(super) struct Follow<'a> {
    pub work: &'a Work,
    pub store: &'a Store,
    /// When the search has taken too long.
    pub deadline: Option<Instant>,
    /// Sheets so far.
    pub sheets: usize,
}

impl Listener for Follow<'_> {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() > deadline)
        {
            self.work.stop(Stop::Late);
        }
        if self.work.stopped().is_some() {
            return Err(ttsvar_search::Error::Interrupted);
        }
        if let Event::Decoded { scale, ids, images } = event {
            self.show(*scale, ids, images)?;
            return Ok(());
        }
        self.work.log.tell(event.name(), event.to_json());
        Ok(())
    }

    fn wants_images(&self, _: usize) -> bool {
        self.work.request.previews
    }
}

impl Follow<'_> {
    /// Keeps the pictures of a scale as a sheet and says where it is.
    fn show(&mut self, scale: usize, ids: &[usize], images: &[Image]) -> Result<()> {
        if !self.work.request.previews || images.is_empty() {
            return Ok(());
        }
        let sheet = self.sheets;
        self.store.keep(
            &self.work.id,
            &Store::sheet(sheet),
            &Png::new(side_by_side(images)).encode()?,
        )?;
        self.sheets += 1;
        self.work.log.tell(
            "previews",
            json!({ "scale": scale, "ids": ids, "sheet": sheet }),
        );
        Ok(())
    }
}

/// Pictures of one size in a row, made smaller where they are large.
fn side_by_side(images: &[Image]) -> Image {
    let small = |image: &Image| match image.width().min(image.height()) {
        side if side > SHOWN => image.resize_shorter_side(SHOWN, Filter::Bicubic),
        _ => image.clone(),
    };
    let images: Vec<Image> = images.iter().map(small).collect();
    let (width, height) = (images[0].width(), images[0].height());
    let row = |y: usize| {
        images
            .iter()
            .flat_map(move |image| &image.pixels()[3 * y * width..3 * (y + 1) * width])
    };
    Image::new(
        images.len() * width,
        height,
        (0..height).flat_map(row).copied().collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_the_pictures_from_left_to_right() {
        let picture = |value: u8| Image::new(2, 2, vec![value; 12]);
        let sheet = side_by_side(&[picture(1), picture(2), picture(3)]);
        assert_eq!((sheet.width(), sheet.height()), (6, 2));
        let reds: Vec<u8> = sheet.pixels().iter().step_by(3).copied().collect();
        assert_eq!(reds, [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn large_pictures_become_small_on_a_sheet() {
        let sheet = side_by_side(&[Image::new(1024, 512, vec![7; 3 * 1024 * 512])]);
        assert_eq!((sheet.width(), sheet.height()), (512, 256));
    }
}
