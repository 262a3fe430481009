//! Images inside a page.

use maud::{Markup, html};
use ttsvar_search::{Image, Trace};

use super::super::{
    super::{
        album::{Album, reduced},
        provenance::Provenance,
    },
    data,
};
use crate::{Result, image::Png};

/// Maximum number of pixels of all small images: a page of photographs then takes about 20 MB.
const PIXELS: usize = 8_000_000;

/// Minimum longer side of a small image in pixels.
const LEAST: usize = 48;

/// The images of an album, reduced to the limits of a page.
pub(super) struct PageImages<'a> {
    album: &'a Album,
    /// Maximum longer side of a small image in pixels.
    side: usize,
}

impl<'a> PageImages<'a> {
    pub fn new(album: &'a Album) -> Self {
        let share = (PIXELS as f64 / album.pixels().max(1) as f64).sqrt();
        let side = if share >= 1.0 {
            usize::MAX
        } else {
            ((256.0 * share) as usize).max(LEAST)
        };
        Self { album, side }
    }

    /// The image of a candidate after a scale, as a tag; empty if there is none.
    pub fn small(&self, scale: usize, id: usize, alt: &str) -> Result<Markup> {
        let Some(image) = self.album.image(scale, id) else {
            return Ok(html! {});
        };
        let image = reduced(image, self.side);
        Ok(tag(&image, &Png::new(image.clone()).encode()?, alt))
    }

    /// The winner in full size. Saved from the page, it is identical to the file that the program
    /// writes.
    pub fn winner(&self, trace: &Trace) -> Result<Markup> {
        let Some(image) = self.album.winner() else {
            return Ok(html! {});
        };
        let png = Provenance::from_trace(trace)
            .beside(image.clone())
            .encode()?;
        let alt = format!("the winner: {}", trace.prompt);
        Ok(tag(image, &png, &alt))
    }
}

fn tag(image: &Image, png: &[u8], alt: &str) -> Markup {
    let url = data("image/png", png);
    html! {
        img src=(url) width=(image.width()) height=(image.height()) alt=(alt);
    }
}
