//! How well a shape covers a region, over places, sizes and rotations.

use std::sync::LazyLock;

use super::{regions::Region, words::Shape, world::SIZE};

/// Side in pixels of the window in which shapes are compared: wider than any object.
const WINDOW: usize = 44;

/// Step between the rotations that are tried, in radians.
const TURN: f32 = 0.08;

/// Number of rotations that are tried in each direction.
const TURNS: i32 = 4;

/// Step between the sizes that are tried.
const SCALE: f32 = 0.08;

/// Largest size of a shape relative to that of the region's area, and its inverse the smallest.
const MOST_SIZE: f32 = 1.2;

/// Largest ratio of width to height, and its inverse the smallest.
const MOST_STRETCH: f32 = 1.3;

/// Sizes of the changes by which a pose is improved, and the number of rounds with each.
const STEPS: [f32; 2] = [1.0, 0.5];
const ROUNDS: usize = 4;

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

/// Where a shape lies, relative to the centre and the area of a region.
#[derive(Clone, Copy, Debug)]
struct Pose {
    turn: f32,
    /// Pixels to the right and down.
    shift: (f32, f32),
    /// Factors of width and height.
    scale: (f32, f32),
}

impl Default for Pose {
    fn default() -> Self {
        Self {
            turn: 0.0,
            shift: (0.0, 0.0),
            scale: (1.0, 1.0),
        }
    }
}

/// The pixels around a region's centre.
pub(super) struct Window {
    /// Coverage of each pixel by the region, row by row.
    cover: Vec<f32>,
    /// Distance in pixels from the centre to the middle of the first column and row.
    corner: (f32, f32),
    /// True if coverage is as an eye sees it, the square root.
    by_eye: bool,
    area: f32,
}

impl Window {
    pub(super) fn around(region: &Region, by_eye: bool) -> Self {
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
            by_eye,
            area: region.area,
        }
    }

    /// The best overlap of a shape that lies where the region's centre and area put it.
    pub(super) fn overlap_in_place(&self, shape: Shape) -> f32 {
        self.best_turn(shape, Pose::default()).0
    }

    /// Coverage of a pixel in the measure of the region's coverage.
    fn seen_cover(&self, cover: f32) -> f32 {
        if self.by_eye { cover.sqrt() } else { cover }
    }

    /// The best overlap over all turns, and its pose.
    fn best_turn(&self, shape: Shape, pose: Pose) -> (f32, Pose) {
        let turned = (-TURNS..=TURNS).map(|turn| Pose {
            turn: turn as f32 * TURN,
            ..pose
        });
        turned
            .map(|pose| (self.overlap(shape, pose), pose))
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .unwrap_or((0.0, pose))
    }

    /// The best overlap that small changes of place, size and proportions reach. A missing tip or a
    /// streak beside an object displaces its centre and changes its area.
    pub(super) fn overlap_nearby(&self, shape: Shape) -> f32 {
        let (mut most, mut best) = self.best_turn(shape, Pose::default());
        for step in STEPS {
            for _ in 0..ROUNDS {
                let before = most;
                for next in best.neighbours(step) {
                    let share = self.overlap(shape, next);
                    if share > most {
                        most = share;
                        best = next;
                    }
                }
                if most == before {
                    break;
                }
            }
        }
        most
    }

    /// Intersection over union of the region and a shape, which has the region's area at scale 1.
    fn overlap(&self, shape: Shape, pose: Pose) -> f32 {
        let radius = (self.area / AREAS[shape as usize]).sqrt();
        let (sin, cos) = pose.turn.sin_cos();
        let mut both = 0.0;
        let mut either = 0.0;
        for (i, cover) in self.cover.iter().enumerate() {
            let x = self.corner.0 + (i % WINDOW) as f32 - pose.shift.0;
            let y = self.corner.1 + (i / WINDOW) as f32 - pose.shift.1;
            let dx = x / (radius * pose.scale.0);
            let dy = y / (radius * pose.scale.1);
            let away = shape.distance(cos * dx + sin * dy, cos * dy - sin * dx) * radius;
            let shape_cover = self.seen_cover((0.5 - away).clamp(0.0, 1.0));
            both += shape_cover.min(*cover);
            either += shape_cover.max(*cover);
        }
        both / either
    }
}

impl Pose {
    /// Poses that differ in one respect.
    fn neighbours(self, step: f32) -> Vec<Self> {
        let mut all = vec![];
        for sign in [-1.0, 1.0] {
            let by = sign * step;
            let longer = 1.0 + SCALE * by;
            let (x, y) = self.shift;
            let (wide, high) = self.scale;
            all.push(Self {
                turn: self.turn + 0.5 * TURN * by,
                ..self
            });
            all.push(Self {
                shift: (x + by, y),
                ..self
            });
            all.push(Self {
                shift: (x, y + by),
                ..self
            });
            all.push(Self {
                scale: (wide * longer, high * longer),
                ..self
            });
            all.push(Self {
                scale: (wide * longer, high / longer),
                ..self
            });
        }
        all.retain(|pose| pose.is_allowed());
        all
    }

    fn is_allowed(&self) -> bool {
        let (wide, high) = self.scale;
        let size = (wide * high).sqrt();
        let ratio = wide / high;
        self.turn.abs() <= TURN * TURNS as f32
            && (1.0 / MOST_SIZE..=MOST_SIZE).contains(&size)
            && (1.0 / MOST_STRETCH..=MOST_STRETCH).contains(&ratio)
    }
}
