//! The exact judge: finds the regions of a picture that are not background, and names shape and
//! colour of each by comparing it with all shapes in all turns. It labels results; it takes part in
//! no search.

use std::{borrow::Cow, sync::LazyLock};

use ttsvar_search::Image;

use super::{
    regions::{Region, regions},
    words::{COLOURS, Colour, Relation, Shape},
    world::SIZE,
};
use crate::image::{Filter, Resize};

/// An object that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Left, top, right, bottom in pixels of a 64 x 64 picture; right and bottom are outside.
    pub bounds: [usize; 4],
}

/// How well a shape must cover a region, as intersection over union.
const ENOUGH: f32 = 0.72;

/// Side in pixels of the window in which shapes are compared: wider than any object.
const WINDOW: usize = 44;

/// The turns that are tried lie this far apart, in radians.
const TURN: f32 = 0.08;

/// How many turns are tried to either side.
const TURNS: i32 = 4;

/// Area of each shape with radius 1.
static AREAS: LazyLock<[f32; 6]> = LazyLock::new(|| {
    const STEPS: usize = 400;
    let at = |i: usize| (i as f32 + 0.5) / STEPS as f32 * 3.0 - 1.5;
    Shape::ALL.map(|shape| {
        let inside = (0..STEPS * STEPS)
            .filter(|i| shape.distance(at(i % STEPS), at(i / STEPS)) < 0.0)
            .count();
        inside as f32 / (STEPS * STEPS) as f32 * 9.0
    })
});

/// The objects in a picture. Pictures of another size are brought to 64 x 64 first, averaging.
pub fn detect(image: &Image) -> Vec<Seen> {
    let image = if (image.width(), image.height()) == (SIZE, SIZE) {
        Cow::Borrowed(image)
    } else {
        Cow::Owned(image.resize(SIZE, SIZE, Filter::Bilinear))
    };
    let seen = |region: Region| {
        let shape = shape_of(&region)?;
        Some(Seen {
            shape,
            colour: nearest(region.rgb),
            bounds: region.bounds,
        })
    };
    regions(&image).into_iter().filter_map(seen).collect()
}

impl Seen {
    /// Whether this object is so related to the other, by GenEval's rule: the direction between the
    /// centres, after a tenth of both sizes was taken off.
    pub fn is(&self, relation: Relation, other: &Self) -> bool {
        let side =
            |bounds: &[usize; 4], axis: usize| (bounds[axis] as f64, bounds[axis + 2] as f64);
        let [x, y] = [0, 1].map(|axis| {
            let ((a, b), (c, d)) = (side(&self.bounds, axis), side(&other.bounds, axis));
            let offset = (a + b - c - d) / 2.0;
            let beyond = (offset.abs() - 0.1 * (b - a + d - c)).max(0.0) * offset.signum();
            (offset, beyond)
        });
        let length = x.0.hypot(y.0);
        if length == 0.0 {
            return false;
        }
        let (dx, dy) = (x.1 / length, y.1 / length);
        match relation {
            Relation::LeftOf => dx < -0.5,
            Relation::RightOf => dx > 0.5,
            Relation::Above => dy < -0.5,
            Relation::Below => dy > 0.5,
        }
    }
}

/// The colour that a value is nearest to.
pub(super) fn nearest(rgb: [f32; 3]) -> Colour {
    let far = |colour: Colour| {
        let own = COLOURS[colour as usize].1;
        rgb.iter()
            .zip(own)
            .map(|(a, b)| (a - f32::from(b)).powi(2))
            .sum::<f32>()
    };
    Colour::ALL
        .into_iter()
        .min_by(|&a, &b| far(a).total_cmp(&far(b)))
        .unwrap_or(Colour::Black)
}

/// The shape that covers a region best, if one does well enough.
fn shape_of(region: &Region) -> Option<Shape> {
    let window = Window::around(region);
    let fit = |shape: Shape| {
        let turns = (-TURNS..=TURNS).map(|turn| window.overlap(shape, turn as f32 * TURN));
        turns.fold(0.0, f32::max)
    };
    let fits = Shape::ALL.map(|shape| (fit(shape), shape));
    let best = fits
        .into_iter()
        .reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(fit, _)| *fit >= ENOUGH)
        .map(|(_, shape)| shape)
}

/// The surroundings of a region's centre.
struct Window {
    /// How far the region covers each pixel, row by row.
    cover: Vec<f32>,
    /// Distance in pixels from the centre to the middle of the first column and row.
    corner: (f32, f32),
    area: f32,
}

impl Window {
    fn around(region: &Region) -> Self {
        let start = |centre: f64| (centre - (WINDOW / 2) as f64).round_ties_even();
        let (left, top) = (start(region.centre.0), start(region.centre.1));
        let cover = |i: usize| {
            let (x, y) = (
                left as i64 + (i % WINDOW) as i64,
                top as i64 + (i / WINDOW) as i64,
            );
            let inside = (0..SIZE as i64).contains(&x) && (0..SIZE as i64).contains(&y);
            if inside {
                region.cover[y as usize * SIZE + x as usize]
            } else {
                0.0
            }
        };
        let corner = (
            (left + 0.5 - region.centre.0) as f32,
            (top + 0.5 - region.centre.1) as f32,
        );
        Self {
            cover: (0..WINDOW * WINDOW).map(cover).collect(),
            corner,
            area: region.area,
        }
    }

    /// Intersection over union of the region and a turned shape of the same area.
    fn overlap(&self, shape: Shape, turn: f32) -> f32 {
        let radius = (self.area / AREAS[shape as usize]).sqrt();
        let (sin, cos) = turn.sin_cos();
        let (mut both, mut either) = (0.0, 0.0);
        for (i, cover) in self.cover.iter().enumerate() {
            let dx = (self.corner.0 + (i % WINDOW) as f32) / radius;
            let dy = (self.corner.1 + (i / WINDOW) as f32) / radius;
            let away = shape.distance(cos * dx + sin * dy, cos * dy - sin * dx) * radius;
            let own = (0.5 - away).clamp(0.0, 1.0);
            both += own.min(*cover);
            either += own.max(*cover);
        }
        both / either
    }
}
