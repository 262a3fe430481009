//! Relative position and overlap of boxes, as in T2I-CompBench.
//!
//! Reference: Karine-Huang/T2I-CompBench, `UniDet_eval/2D_spatial_eval.py` (`determine_position`),
//! `numeracy_eval.py` (`calculate_iou`), `experts/model_bank.py` (`Resize(size=479,
//! max_size=480)`).

use ttsvar_search::Image;

use crate::detectors::Object;

/// Left, top, right, bottom.
pub type Bounds = [f64; 4];

/// The position of a thing relative to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpatialRelation {
    /// On side of, next to, near.
    Near,
    /// On the left of.
    Left,
    /// On the right of.
    Right,
    /// On the bottom of.
    Bottom,
    /// On the top of.
    Top,
    /// `on top of`: the original finds it in prompts but has no rule for it, so it never holds.
    Nowhere,
}

/// The words for relations, in the order in which they are searched.
const WORDS: [(&str, SpatialRelation); 8] = [
    ("on side of", SpatialRelation::Near),
    ("next to", SpatialRelation::Near),
    ("near", SpatialRelation::Near),
    ("on the left of", SpatialRelation::Left),
    ("on the right of", SpatialRelation::Right),
    ("on the bottom of", SpatialRelation::Bottom),
    ("on the top of", SpatialRelation::Top),
    ("on top of", SpatialRelation::Nowhere),
];

impl SpatialRelation {
    /// The relation that a prompt names, with its words.
    pub fn find(prompt: &str) -> Option<(&'static str, Self)> {
        WORDS.into_iter().find(|(words, _)| prompt.contains(words))
    }

    /// How well `a` is in this relation to `b`: 0 to 1.
    pub fn score(self, a: Bounds, b: Bounds) -> f64 {
        const NEAR: f64 = 150.0; // pixels of the resized image
        let centre = |bounds: Bounds, axis: usize| (bounds[axis] + bounds[axis + 2]) / 2.0;
        let [x, y] = [0, 1].map(|axis| centre(b, axis) - centre(a, axis));
        let sideways = x.abs() > y.abs();
        let upright = y.abs() > x.abs();
        let holds = match self {
            Self::Near if x.abs() < NEAR || y.abs() < NEAR => return 1.0,
            Self::Near => return NEAR / x.abs().max(y.abs()),
            Self::Right => x < 0.0 && sideways,
            Self::Left => x > 0.0 && sideways,
            Self::Bottom => y < 0.0 && upright,
            Self::Top => y > 0.0 && upright,
            Self::Nowhere => false,
        };
        if holds { apart(a, b) } else { 0.0 }
    }
}

/// 1 for boxes that hardly overlap, less for others.
fn apart(a: Bounds, b: Bounds) -> f64 {
    const OVERLAP: f64 = 0.1;
    let common: f64 = [0, 1]
        .map(|axis| (a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0.0))
        .iter()
        .product();
    let area = |bounds: Bounds| (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]);
    let overlap = common / (area(a) + area(b) - common);
    if overlap >= OVERLAP {
        OVERLAP / overlap
    } else {
        1.0
    }
}

/// Returns whether two boxes show the same thing: more than nine tenths of their union, or of one
/// of them, is common.
pub fn same(a: Bounds, b: Bounds) -> bool {
    const SAME: f64 = 0.9;
    let side = |from: f64, to: f64| to - from + 1.0;
    let area = |bounds: Bounds| side(bounds[0], bounds[2]) * side(bounds[1], bounds[3]);
    let common: f64 = [0, 1]
        .map(|axis| side(a[axis].max(b[axis]), a[axis + 2].min(b[axis + 2])).max(0.0))
        .iter()
        .product();
    [area(a) + area(b) - common, area(a), area(b)]
        .into_iter()
        .any(|area| common / area > SAME)
}

/// The factors of width and height by which the original resizes images: distances are in pixels of
/// the resized image.
pub fn resize_factors(image: &Image) -> [f64; 2] {
    const SHORTER: f64 = 479.0;
    const LONGEST: f64 = 480.0;
    let width = image.width() as f64;
    let height = image.height() as f64;
    let short = width.min(height);
    let long = width.max(height);
    let fitted = (SHORTER * long / short).trunc();
    let (short_to, long_to) = if fitted > LONGEST {
        ((LONGEST * SHORTER / fitted).trunc(), LONGEST)
    } else {
        (SHORTER, fitted)
    };
    if width <= height {
        [short_to / short, long_to / long]
    } else {
        [long_to / long, short_to / short]
    }
}

/// The box of an object in the resized image.
pub fn resized(object: &Object, [x, y]: [f64; 2]) -> Bounds {
    let [left, top, right, bottom] = object.bounds.map(f64::from);
    [left * x, top * y, right * x, bottom * y]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Bounds = [100.0, 100.0, 140.0, 140.0];

    /// The box, shifted.
    fn moved(x: f64, y: f64) -> Bounds {
        [BOX[0] + x, BOX[1] + y, BOX[2] + x, BOX[3] + y]
    }

    #[test]
    fn relations_are_relative_to_the_second_box() {
        let all = [
            SpatialRelation::Left,
            SpatialRelation::Right,
            SpatialRelation::Top,
            SpatialRelation::Bottom,
        ];
        let scores = |a: Bounds| all.map(|place| place.score(a, BOX));
        assert_eq!(scores(moved(-60.0, 10.0)), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(scores(moved(60.0, -10.0)), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(scores(moved(10.0, -60.0)), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(scores(moved(10.0, 60.0)), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(
            scores(moved(60.0, 60.0)),
            [0.0; 4],
            "no side is farther than the other"
        );
        assert_eq!(SpatialRelation::Nowhere.score(moved(0.0, -60.0), BOX), 0.0);
    }

    #[test]
    fn overlap_and_distance_take_from_the_score() {
        // 20 x 40 of 60 x 40: an overlap of a third
        let half = SpatialRelation::Left.score(moved(-20.0, 0.0), BOX);
        assert!((half - 0.3).abs() < 1e-12, "{half}");
        assert_eq!(
            SpatialRelation::Near.score(moved(-300.0, 149.0), BOX),
            1.0,
            "one side is enough"
        );
        assert_eq!(SpatialRelation::Near.score(moved(-300.0, 200.0), BOX), 0.5);
    }

    #[test]
    fn longer_words_do_not_hide_shorter_ones() {
        assert_eq!(
            SpatialRelation::find("a cat on the top of a car"),
            Some(("on the top of", SpatialRelation::Top))
        );
        assert_eq!(
            SpatialRelation::find("the cat is on top of the car"),
            Some(("on top of", SpatialRelation::Nowhere))
        );
        assert_eq!(SpatialRelation::find("a cat and a car"), None);
    }

    #[test]
    fn boxes_of_one_thing_are_known() {
        assert!(
            same(BOX, moved(1.0, 0.0))
                && same([110.0, 110.0, 120.0, 120.0], BOX)
                && !same(BOX, moved(10.0, 0.0))
        );
        assert!(!same(BOX, moved(500.0, 500.0)));
    }

    #[test]
    fn images_are_resized_as_in_the_original() {
        let sides = |width, height| {
            let [x, y] = resize_factors(&Image::new(width, height, vec![0; 3 * width * height]));
            (
                (x * width as f64).round() as usize,
                (y * height as f64).round() as usize,
            )
        };
        assert_eq!(
            [sides(512, 512), sides(64, 32), sides(30, 60)],
            [(479, 479), (480, 240), (240, 480)]
        );
    }
}
