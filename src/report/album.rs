//! The pictures of a search, collected while it runs.

use std::collections::BTreeMap;

use ttsvar_search::{Event, Image, Listener};

use crate::image::{Filter, Resize};

/// Pixels along the longer side beyond which a collected image is reduced: the largest at which one
/// is drawn.
const LARGEST: usize = 256;

/// Images of one scale beyond which only [`SMALLEST`] pixels of each are kept.
const MANY: usize = 256;

/// Pixels along the longer side of an image among many.
const SMALLEST: usize = 64;

/// The pictures of a search: small ones of the candidates that were decoded, the winner whole. It
/// fills itself when it listens to the search, and asks for no image that the search does not
/// decode anyway; pictures that were kept elsewhere can be put in by [`Album::add`] and
/// [`Album::crown`].
#[derive(Clone, Debug, Default)]
pub struct Album {
    /// The candidates that were decoded, scale by scale, in the order of their rows.
    rows: Vec<(usize, Vec<usize>)>,
    /// Their images, reduced, by scale and candidate.
    images: BTreeMap<(usize, usize), Image>,
    winner: Option<Image>,
}

impl Album {
    /// Puts in what was decoded after `scale`: an image for each of the candidates `ids`.
    pub fn add(&mut self, scale: usize, ids: &[usize], images: &[Image]) {
        let side = if ids.len() > MANY { SMALLEST } else { LARGEST };
        match self.rows.iter_mut().find(|(known, _)| *known == scale) {
            Some((_, row)) => row.extend(ids), // a further round
            None => self.rows.push((scale, ids.to_vec())),
        }
        self.images.extend(
            ids.iter()
                .zip(images)
                .map(|(&id, image)| ((scale, id), reduced(image, side))),
        );
    }

    /// Puts in the winner, in full size.
    pub fn crown(&mut self, image: &Image) {
        self.winner = Some(image.clone());
    }

    /// Scale by scale the candidates that have an image, in the order of their rows.
    pub(super) fn rows(&self) -> &[(usize, Vec<usize>)] {
        &self.rows
    }

    /// The image of a candidate after a scale.
    pub(super) fn image(&self, scale: usize, id: usize) -> Option<&Image> {
        self.images.get(&(scale, id))
    }

    /// The winner, in full size.
    pub(super) fn winner(&self) -> Option<&Image> {
        self.winner.as_ref()
    }

    /// Pixels of all the small images together.
    pub(super) fn pixels(&self) -> usize {
        self.images
            .values()
            .map(|image| image.width() * image.height())
            .sum()
    }

    /// Width divided by height of the images.
    pub(super) fn aspect(&self) -> f32 {
        self.images
            .values()
            .next_back()
            .map_or(1.0, |image| image.width() as f32 / image.height() as f32)
    }
}

impl Listener for Album {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        match event {
            Event::Started { .. } => *self = Self::default(),
            Event::Decoded { scale, ids, images } => self.add(*scale, ids, images),
            Event::Finished { image, .. } => self.crown(image),
            _ => {}
        }
        Ok(())
    }
}

/// The picture with no side longer than `side`.
pub(super) fn reduced(image: &Image, side: usize) -> Image {
    let longer = image.width().max(image.height());
    if longer <= side {
        return image.clone();
    }
    let short = |length: usize| (length * side / longer).max(1);
    image.resize(short(image.width()), short(image.height()), Filter::Bicubic)
}
