//! Pictures inside a page.

use ttsvar_search::{Image, Trace};

use super::super::{
    super::{
        album::{Album, reduced},
        markup::escaped,
        provenance::Provenance,
    },
    data,
};
use crate::{Result, image::Png};

/// Pixels of all small pictures together: a page of photographs then takes about 20 MB.
const PIXELS: usize = 8_000_000;

/// Pixels along the longer side that every small picture keeps.
const LEAST: usize = 48;

/// The pictures of an album, no larger than a page can bear.
pub(super) struct Pictures<'a> {
    album: &'a Album,
    /// Pixels along the longer side of a small picture, at most.
    side: usize,
}

impl<'a> Pictures<'a> {
    pub fn new(album: &'a Album) -> Self {
        let share = (PIXELS as f64 / album.pixels().max(1) as f64).sqrt();
        let side = if share >= 1.0 {
            usize::MAX
        } else {
            ((256.0 * share) as usize).max(LEAST)
        };
        Self { album, side }
    }

    /// The picture of a candidate after a scale, as a tag; nothing where there is none.
    pub fn small(&self, scale: usize, id: usize, alt: &str) -> Result<String> {
        let Some(image) = self.album.image(scale, id) else {
            return Ok(String::new());
        };
        let image = reduced(image, self.side);
        tag(&image, &Png::new(image.clone()).encode()?, alt)
    }

    /// The winner in full size. Saved from the page it is the file that the program would have
    /// written.
    pub fn winner(&self, trace: &Trace) -> Result<String> {
        let Some(image) = self.album.winner() else {
            return Ok(String::new());
        };
        tag(
            image,
            &Provenance::from_trace(trace)
                .beside(image.clone())
                .encode()?,
            &format!("the winner: {}", trace.prompt),
        )
    }
}

fn tag(image: &Image, png: &[u8], alt: &str) -> Result<String> {
    let (width, height) = (image.width(), image.height());
    let (url, alt) = (data("image/png", png), escaped(alt));
    Ok(format!(
        "<img src=\"{url}\" width=\"{width}\" height=\"{height}\" alt=\"{alt}\">"
    ))
}
