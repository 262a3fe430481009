//! Rule-based detection: finds the regions of an image that are not background and determines the
//! shape and colour of each by comparison with all shapes in all rotations. It evaluates results
//! and takes no part in a search.

use std::{borrow::Cow, sync::LazyLock};

use ttsvar_search::Image;

use super::{
    regions::{Region, regions},
    words::{COLOURS, Colour, Relation, Shape},
    world::SIZE,
};
use crate::image::{Filter, Resize};

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

/// Minimum intersection over union of a shape and a region.
const ENOUGH: f32 = 0.72;

/// Side in pixels of the window in which shapes are compared: wider than any object.
const WINDOW: usize = 44;

/// Step between the rotations that are tried, in radians.
const TURN: f32 = 0.08;

/// Number of rotations that are tried in each direction.
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

/// Detects the objects in an image. Images of other sizes are resized to 64 x 64 first.
pub fn detect(image: &Image) -> Vec<DetectedShape> {
    let image = if (image.width(), image.height()) == (SIZE, SIZE) {
        Cow::Borrowed(image)
    } else {
        Cow::Owned(image.resize(SIZE, SIZE, Filter::Bilinear))
    };
    let seen = |region: Region| {
        let shape = shape_of(&region)?;
        Some(DetectedShape {
            shape,
            colour: nearest(region.rgb),
            bounds: region.bounds,
        })
    };
    regions(&image).into_iter().filter_map(seen).collect()
}

impl DetectedShape {
    /// Returns whether this object is in a relation to the other, by GenEval's rule: the direction
    /// between the centres, after subtracting a tenth of both sizes.
    pub fn is_related(&self, relation: Relation, other: &Self) -> bool {
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
        let dx = x.1 / length;
        let dy = y.1 / length;
        match relation {
            Relation::LeftOf => dx < -0.5,
            Relation::RightOf => dx > 0.5,
            Relation::Above => dy < -0.5,
            Relation::Below => dy > 0.5,
        }
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

/// The shape that covers a region best, if it covers it well enough.
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

/// The pixels around a region's centre.
struct Window {
    /// Coverage of each pixel by the region, row by row.
    cover: Vec<f32>,
    /// Distance in pixels from the centre to the middle of the first column and row.
    corner: (f32, f32),
    area: f32,
}

impl Window {
    fn around(region: &Region) -> Self {
        let start = |centre: f64| (centre - (WINDOW / 2) as f64).round_ties_even();
        let left = start(region.centre.0);
        let top = start(region.centre.1);
        let cover = |i: usize| {
            let x = left as i64 + (i % WINDOW) as i64;
            let y = top as i64 + (i / WINDOW) as i64;
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

    /// Intersection over union of the region and a rotated shape of the same area.
    fn overlap(&self, shape: Shape, turn: f32) -> f32 {
        let radius = (self.area / AREAS[shape as usize]).sqrt();
        let (sin, cos) = turn.sin_cos();
        let mut both = 0.0;
        let mut either = 0.0;
        for (i, cover) in self.cover.iter().enumerate() {
            let dx = (self.corner.0 + (i % WINDOW) as f32) / radius;
            let dy = (self.corner.1 + (i / WINDOW) as f32) / radius;
            let away = shape.distance(cos * dx + sin * dy, cos * dy - sin * dx) * radius;
            let shape_cover = (0.5 - away).clamp(0.0, 1.0);
            both += shape_cover.min(*cover);
            either += shape_cover.max(*cover);
        }
        both / either
    }
}
