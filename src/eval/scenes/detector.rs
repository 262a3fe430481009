//! Rule-based detection: finds the regions of an image that are not background and determines the
//! shape and colour of each by comparison with all shapes in all rotations. It evaluates results
//! and takes no part in a search.

use std::borrow::Cow;

use ttsvar_search::Image;

use super::{
    fitting::Window,
    regions::{Patch, Patches, Region},
    words::{COLOURS, Colour, Relation, Shape},
    world::SIZE,
};
use crate::{
    eval::geneval::{geometry, prompts::RelativePosition},
    image::{Filter, Resize},
};

/// A detected object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectedShape {
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Left, top, right, bottom in pixels of a 64 x 64 image; right and bottom are exclusive.
    pub bounds: [usize; 4],
}

/// Detects the objects in an image. Images of other sizes are resized to 64 x 64 first.
pub fn detect(image: &Image) -> Vec<DetectedShape> {
    let image = if (image.width(), image.height()) == (SIZE, SIZE) {
        Cow::Borrowed(image)
    } else {
        Cow::Owned(image.resize(SIZE, SIZE, Filter::Bilinear))
    };
    let patches = Patches::find(&image);
    patches
        .iter()
        .flat_map(|patch| objects(&patches, patch))
        .collect()
}

/// The objects of a patch. Unless the first sight of it is clear, the way of seeing it is taken that
/// explains most of it.
fn objects(patches: &Patches, patch: &Patch) -> Vec<DetectedShape> {
    let first = patches.first_sight(patch);
    let mut best: Vec<Fit> = first.regions.iter().map(Fit::at_first_sight).collect();
    let clear = best.iter().all(|fit| fit.overlap >= clear(fit.seen.shape));
    if first.by_colour || !clear {
        let area = patches.area(patch);
        let explained =
            |fits: &[Fit]| fits.iter().map(|fit| fit.overlap * fit.area).sum::<f32>() / area;
        let mut most = explained(&best);
        for regions in patches.second_sights(patch) {
            let fits: Vec<Fit> = regions.iter().map(Fit::at_second_sight).collect();
            let share = explained(&fits);
            if share > most {
                most = share;
                best = fits;
            }
        }
    }
    let known = best.into_iter().filter(|fit| fit.overlap >= fit.enough);
    known.map(|fit| fit.seen).collect()
}

/// Minimum intersection over union of a shape and a region, with the shape in its place.
const ENOUGH: f32 = 0.72;

/// Intersection over union from which a shape is recognised for certain, and its minimum where the
/// shape may be moved and stretched. A compact shape covers any blob rather well; a limb that is
/// missing or bent costs more overlap.
fn clear(shape: Shape) -> f32 {
    match shape {
        Shape::Circle | Shape::Square | Shape::Triangle => 0.8,
        Shape::Star | Shape::Ring | Shape::Cross => ENOUGH,
    }
}

/// The shape that covers a region best.
struct Fit {
    seen: DetectedShape,
    /// Intersection over union of shape and region.
    overlap: f32,
    /// The overlap that is required.
    enough: f32,
    area: f32,
}

impl Fit {
    fn at_first_sight(region: &Region) -> Self {
        let window = Window::around(region, false);
        let (shape, overlap) = best_shape(|shape| window.overlap_in_place(shape));
        Self::new(region, shape, overlap, ENOUGH)
    }

    fn at_second_sight(region: &Region) -> Self {
        let window = Window::around(region, true);
        let (shape, overlap) = best_shape(|shape| window.overlap_nearby(shape));
        Self::new(region, shape, overlap, clear(shape))
    }

    fn new(region: &Region, shape: Shape, overlap: f32, enough: f32) -> Self {
        let seen = DetectedShape {
            shape,
            colour: nearest(region.rgb),
            bounds: region.bounds,
        };
        Self {
            seen,
            overlap,
            enough,
            area: region.area,
        }
    }
}

/// The shape with the largest overlap, the first of equals.
fn best_shape(overlap: impl Fn(Shape) -> f32) -> (Shape, f32) {
    let [first, others @ ..] = Shape::ALL.map(|shape| (shape, overlap(shape)));
    let larger = |best: (Shape, f32), next: (Shape, f32)| if next.1 > best.1 { next } else { best };
    others.into_iter().fold(first, larger)
}

impl DetectedShape {
    /// Returns whether this object is in a relation to the other, by GenEval's rule.
    pub fn is_related(&self, relation: Relation, other: &Self) -> bool {
        /// The part of both lengths that GenEval subtracts from a distance.
        const SLACK: f64 = 0.1;
        let position = match relation {
            Relation::LeftOf => RelativePosition::Left,
            Relation::RightOf => RelativePosition::Right,
            Relation::Above => RelativePosition::Above,
            Relation::Below => RelativePosition::Below,
        };
        let [a, b] = [self, other].map(|shape| shape.bounds.map(|side| side as f64));
        geometry::relations(a, b, SLACK).contains(&position)
    }
}

/// The nearest colour to a value.
pub(super) fn nearest(rgb: [f32; 3]) -> Colour {
    let far = |colour: Colour| {
        rgb.iter()
            .zip(COLOURS[colour as usize].1)
            .map(|(a, b)| (a - f32::from(b)).powi(2))
            .sum::<f32>()
    };
    Colour::ALL
        .into_iter()
        .min_by(|&a, &b| far(a).total_cmp(&far(b)))
        .unwrap_or(Colour::Black)
}
