//! The images of a search, collected while it runs.

use std::collections::BTreeMap;

use ttsvar_search::{Event, Image, Listener};

use crate::image::{Filter, Resize};

/// Longest side in pixels of collected images: the largest size in a report.
const LARGEST: usize = 256;

/// Number of images per scale above which they are reduced to [`SMALLEST`] pixels.
const MANY: usize = 256;

/// Longest side in pixels of images of large batches.
const SMALLEST: usize = 64;

/// The images of a search: small ones of the decoded candidates, and the winner in full size. It
/// collects them as a listener of the search. Where a stage acts on latents, it requests the images of
/// its candidates, as previews. Stored images can be added by [`Album::add`] and [`Album::crown`].
#[derive(Clone, Debug, Default)]
pub struct Album {
    /// The decoded candidates, scale by scale, in the order of their rows.
    rows: Vec<(usize, Vec<usize>)>,
    /// Their images, reduced, by scale and candidate.
    images: BTreeMap<(usize, usize), Image>,
    winner: Option<Image>,
    /// The scales after which the search has a stage.
    staged: Vec<usize>,
}

impl Album {
    /// Adds the images decoded after `scale`, one for each of the candidates `ids`.
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

    /// Adds the winner in full size.
    pub fn crown(&mut self, image: &Image) {
        self.winner = Some(image.clone());
    }

    /// The candidates with images, scale by scale, in the order of their rows.
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

    /// Total number of pixels of the small images.
    pub(super) fn pixels(&self) -> usize {
        self.images
            .values()
            .map(|image| image.width() * image.height())
            .sum()
    }

    /// Aspect ratio (width / height) of the images.
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
            Event::Started { plan, .. } => {
                *self = Self {
                    staged: plan.stages().iter().map(|stage| stage.scale).collect(),
                    ..Self::default()
                };
            }
            Event::Decoded { scale, ids, images } => self.add(*scale, ids, images),
            Event::Finished { image, .. } => self.crown(image),
            _ => {}
        }
        Ok(())
    }

    fn wants_images(&self, scale: usize) -> bool {
        self.staged.contains(&scale)
    }
}

/// The image, reduced to sides of at most `side` pixels.
pub(super) fn reduced(image: &Image, side: usize) -> Image {
    let longer = image.width().max(image.height());
    if longer <= side {
        return image.clone();
    }
    let short = |length: usize| (length * side / longer).max(1);
    image.resize(short(image.width()), short(image.height()), Filter::Bicubic)
}
