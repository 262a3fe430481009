//! Scenes: one to four flat shapes on a light background, 64 x 64 pixels. The same seeds give the
//! same scenes as in the program that the demo was trained with (`training/world.py`).

use ttsvar_search::Image;

use super::words::{COLOURS, Colour, Relation, SHAPES, Shape};

/// Pixels along each side.
pub const SIZE: usize = 64;

/// The SplitMix64 generator; the seed is scrambled so that neighbouring seeds give unrelated
/// streams.
pub struct SplitMix(u64);

impl SplitMix {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut stream = Self(seed ^ 0x5dee_ce66_d123_4567);
        let low = stream.next();
        let high = stream.next();
        Self(low ^ (high << 32))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// A number from 0 to `count` - 1.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Two different items.
    fn pick_two<T: Copy>(&mut self, items: &[T]) -> [T; 2] {
        let first = self.below(items.len());
        let second = (first + 1 + self.below(items.len() - 1)) % items.len();
        [items[first], items[second]]
    }
}

/// The kind of caption that a scene was laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SceneKind {
    /// One object.
    One,
    /// Two objects of different shape.
    Two,
    /// Two to four objects of one shape and colour.
    Count,
    /// Two objects, the first left of, right of, above or below the second.
    Related(Relation),
}

/// A shape in a scene.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SceneObject {
    /// Its shape.
    pub shape: Shape,
    /// The name of its colour.
    pub colour: Colour,
    /// Centre, pixels from the left and from the top.
    pub centre: (f64, f64),
    /// Its size in pixels.
    pub radius: f64,
    /// Radians.
    pub turn: f64,
    /// Its exact colour.
    pub rgb: [f64; 3],
}

/// A scene before it is rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The kind of its caption.
    pub kind: SceneKind,
    /// The objects; a relation is about the first.
    pub objects: Vec<SceneObject>,
    background: [f64; 3],
}

/// Radii in pixels, by number of objects.
const RADIUS: [(f64, f64); 4] = [(9.0, 14.0), (8.0, 12.0), (7.5, 10.0), (7.5, 9.0)];

impl Scene {
    /// The scene of a seed.
    pub fn new(seed: u64) -> Self {
        let stream = &mut SplitMix::new(seed);
        let (kind, shapes) = shapes(stream);
        let shared = stream.pick(&Colour::ALL);
        let colours: Vec<Colour> = shapes
            .iter()
            .map(|_| {
                if kind == SceneKind::Count {
                    shared
                } else {
                    stream.pick(&Colour::ALL)
                }
            })
            .collect();
        let objects = lay_out(stream, &shapes, &colours, kind);
        let grey = stream.uniform(200.0, 250.0);
        let background = [(); 3].map(|()| (grey + stream.uniform(-8.0, 8.0)).min(255.0));
        Self {
            kind,
            objects,
            background,
        }
    }

    /// Renders the scene with smooth edges.
    pub fn render(&self) -> Image {
        let mut pixels = vec![0; 3 * SIZE * SIZE];
        for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            let at = ((i % SIZE) as f32 + 0.5, (i / SIZE) as f32 + 0.5);
            let mut colour = self.background.map(|value| value as f32);
            for object in &self.objects {
                let cover = object.cover(at);
                for (value, target) in colour.iter_mut().zip(object.rgb) {
                    *value = *value * (1.0 - cover) + target as f32 * cover;
                }
            }
            pixel.iter_mut().zip(colour).for_each(|(pixel, value)| {
                *pixel = value.round_ties_even().clamp(0.0, 255.0) as u8
            });
        }
        Image::new(SIZE, SIZE, pixels)
    }
}

impl SceneObject {
    /// Coverage of the pixel around a point.
    fn cover(&self, (x, y): (f32, f32)) -> f32 {
        let radius = self.radius as f32;
        let dx = (x - self.centre.0 as f32) / radius;
        let dy = (y - self.centre.1 as f32) / radius;
        let sin = self.turn.sin() as f32;
        let cos = self.turn.cos() as f32;
        let away = self
            .shape
            .distance(cos * dx + sin * dy, cos * dy - sin * dx)
            * radius;
        (0.5 - away).clamp(0.0, 1.0)
    }
}

fn shapes(stream: &mut SplitMix) -> (SceneKind, Vec<Shape>) {
    const WEIGHTS: [f64; 4] = [2.0, 5.0, 2.5, 3.5];
    let mut point = stream.uniform(0.0, 1.0) * WEIGHTS.iter().sum::<f64>();
    let kind = WEIGHTS.iter().position(|weight| {
        point -= weight;
        point < 0.0
    });
    match kind.unwrap_or(3) {
        0 => (SceneKind::One, vec![stream.pick(&Shape::ALL)]),
        2 => {
            let shape = stream.pick(&Shape::ALL);
            (SceneKind::Count, vec![shape; 2 + stream.below(3)])
        }
        one_or_three => {
            let two = stream.pick_two(&Shape::ALL).to_vec();
            (
                if one_or_three == 1 {
                    SceneKind::Two
                } else {
                    SceneKind::Related(stream.pick(&Relation::ALL))
                },
                two,
            )
        }
    }
}

/// Places all objects; starts again if there is no room for one of them.
fn lay_out(
    stream: &mut SplitMix,
    shapes: &[Shape],
    colours: &[Colour],
    kind: SceneKind,
) -> Vec<SceneObject> {
    loop {
        let mut objects = vec![];
        for (&shape, &colour) in shapes.iter().zip(colours) {
            let Some((centre, radius)) = place(stream, &objects, RADIUS[shapes.len() - 1], kind)
            else {
                break;
            };
            let rgb = COLOURS[colour as usize]
                .1
                .map(|value| (f64::from(value) + stream.uniform(-12.0, 12.0)).clamp(0.0, 255.0));
            let turn = stream.uniform(-0.2, 0.2);
            objects.push(SceneObject {
                shape,
                colour,
                centre,
                radius,
                turn,
                rgb,
            });
        }
        if objects.len() == shapes.len() {
            return objects;
        }
    }
}

/// A free position for the next object, and its radius; `None` after 30 attempts.
fn place(
    stream: &mut SplitMix,
    objects: &[SceneObject],
    (low, high): (f64, f64),
    kind: SceneKind,
) -> Option<((f64, f64), f64)> {
    for _ in 0..30 {
        let radius = stream.uniform(low, high);
        let margin = 1.22 * radius + 1.0;
        let end = SIZE as f64 - margin;
        let x = stream.uniform(margin, end);
        let y = stream.uniform(margin, end);
        let apart = |other: &SceneObject| {
            (x - other.centre.0).hypot(y - other.centre.1) > 1.18 * (radius + other.radius) + 2.0
        };
        let related = match (kind, objects.first()) {
            (SceneKind::Related(relation), Some(first)) => {
                clearly(relation, first.centre.0 - x, first.centre.1 - y)
            }
            _ => true,
        };
        if objects.iter().all(apart) && related {
            return Some(((x, y), radius));
        }
    }
    None
}

/// Returns whether two centres, (dx, dy) apart, are clearly in the relation.
fn clearly(relation: Relation, dx: f64, dy: f64) -> bool {
    let (along, across) = match relation {
        Relation::LeftOf => (-dx, dy),
        Relation::RightOf => (dx, dy),
        Relation::Above => (-dy, dx),
        Relation::Below => (dy, dx),
    };
    along >= 16.0 && across.abs() <= 0.7 * along
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 6] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Ring,
        Self::Cross,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        SHAPES[self as usize].0
    }

    /// The approximate signed distance from its outline, in units of its radius; negative inside.
    pub(super) fn distance(self, x: f32, y: f32) -> f32 {
        let across = x.abs();
        let down = y.abs();
        let far = x.hypot(y);
        match self {
            Self::Circle => far - 1.0,
            Self::Square => across.max(down) - 0.86,
            Self::Triangle => {
                let slope = 3f32.sqrt() / 2.0;
                (y - 0.59)
                    .max(slope * x - 0.5 * y - 0.59)
                    .max(-slope * x - 0.5 * y - 0.59)
            }
            Self::Star => star(x, y, far),
            Self::Ring => (far - 0.8).abs() - 0.24,
            Self::Cross => (across - 1.08)
                .max(down - 0.34)
                .min((across - 0.34).max(down - 1.08)),
        }
    }
}

/// The distance from a star: the angle is folded into one of the five arms.
fn star(x: f32, y: f32, far: f32) -> f32 {
    const FIFTH: f32 = 2.0 * std::f32::consts::PI / 5.0;
    const TIP: f32 = 1.22;
    let angle = x.atan2(-y);
    let angle = (angle - FIFTH * (angle / FIFTH).round_ties_even()).abs();
    let px = far * angle.cos();
    let py = far * angle.sin();
    let qx = 0.52 * (FIFTH / 2.0).cos();
    let qy = 0.52 * (FIFTH / 2.0).sin();
    let length = qy.hypot(TIP - qx);
    ((px - TIP) * qy + py * (TIP - qx)) / length
}
