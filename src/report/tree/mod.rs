//! One picture of a whole search: a row a stage, every candidate that was decoded, its score, and who continues whom.

mod draw;
mod layout;

use std::collections::BTreeMap;

use crate::{
    Result,
    image::{Filter, Image},
    search::{Event, Listener, Trace},
};

/// Pixels along the longer side beyond which a collected image is reduced: the largest at which one is drawn.
const LARGEST: usize = 256;

/// Images of one scale beyond which only [`SMALLEST`] pixels of each are kept.
const MANY: usize = 256;

/// Pixels along the longer side of an image among many.
const SMALLEST: usize = 64;

/// Collects the images of a search while it runs and draws it when it is over. It asks for no image that the search
/// does not decode anyway.
///
/// ```no_run
/// # fn f(search: ttsvar::search::Search, plan: ttsvar::search::Plan) -> ttsvar::Result<()> {
/// let mut tree = ttsvar::report::Tree::default();
/// let outcome = ttsvar::search::run(&search, &"a red circle".into(), &plan, 0, &mut tree)?;
/// tree.picture(&outcome.trace).save("tree.png")?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The candidates that were decoded, scale by scale, in the order of their rows.
    rows: Vec<(usize, Vec<usize>)>,
    /// Their images, reduced, by scale and candidate.
    images: BTreeMap<(usize, usize), Image>,
}

impl Tree {
    /// The picture of a finished search; `trace` is the record of the search that this tree listened to.
    pub fn picture(&self, trace: &Trace) -> Image {
        let layout = layout::Layout::new(trace, &self.rows, self.aspect());
        draw::draw(trace, &layout, &self.images)
    }

    /// Width divided by height of the images.
    fn aspect(&self) -> f32 {
        self.images.values().next_back().map_or(1.0, |image| image.width() as f32 / image.height() as f32)
    }

    fn collect(&mut self, scale: usize, ids: &[usize], images: &[Image]) {
        let side = if ids.len() > MANY { SMALLEST } else { LARGEST };
        match self.rows.iter_mut().find(|(known, _)| *known == scale) {
            Some((_, row)) => row.extend(ids), // a further round
            None => self.rows.push((scale, ids.to_vec())),
        }
        self.images.extend(ids.iter().zip(images).map(|(&id, image)| ((scale, id), reduced(image, side))));
    }
}

impl Listener for Tree {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Started { .. } => *self = Self::default(),
            Event::Decoded { scale, ids, images } => self.collect(*scale, ids, images),
            _ => {}
        }
        Ok(())
    }
}

/// The picture with no side longer than `side`.
fn reduced(image: &Image, side: usize) -> Image {
    let longer = image.width().max(image.height());
    if longer <= side {
        return image.clone();
    }
    let short = |length: usize| (length * side / longer).max(1);
    image.resize(short(image.width()), short(image.height()), Filter::Bicubic)
}
