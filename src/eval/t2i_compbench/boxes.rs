//! How boxes lie to each other, as T2I-CompBench has it.
//!
//! Reference: Karine-Huang/T2I-CompBench, `UniDet_eval/2D_spatial_eval.py` (`determine_position`),
//! `numeracy_eval.py` (`calculate_iou`), `experts/model_bank.py` (`Resize(size=479,
//! max_size=480)`).

use ttsvar_search::Image;

use crate::detectors::Object;

/// Left, top, right, bottom.
pub type Bounds = [f64; 4];

/// Where something should be, seen from something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
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
    /// `on top of`, which the original looks for in prompts and then knows no rule for: nothing is
    /// there.
    Nowhere,
}

/// The words for places, in the order in which they are looked for.
const WORDS: [(&str, Place); 8] = [
    ("on side of", Place::Near),
    ("next to", Place::Near),
    ("near", Place::Near),
    ("on the left of", Place::Left),
    ("on the right of", Place::Right),
    ("on the bottom of", Place::Bottom),
    ("on the top of", Place::Top),
    ("on top of", Place::Nowhere),
];

impl Place {
    /// The place that a prompt names, with its words.
    pub fn find(prompt: &str) -> Option<(&'static str, Self)> {
        WORDS.into_iter().find(|(words, _)| prompt.contains(words))
    }

    /// How well `a` stands there, seen from `b`: 0 to 1.
    pub fn score(self, a: Bounds, b: Bounds) -> f64 {
        const NEAR: f64 = 150.0; // pixels of the frame
        let centre = |of: Bounds, axis: usize| (of[axis] + of[axis + 2]) / 2.0;
        let [x, y] = [0, 1].map(|axis| centre(b, axis) - centre(a, axis));
        let (sideways, upright) = (x.abs() > y.abs(), y.abs() > x.abs());
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
    let area = |of: Bounds| (of[2] - of[0]) * (of[3] - of[1]);
    let overlap = common / (area(a) + area(b) - common);
    if overlap >= OVERLAP {
        OVERLAP / overlap
    } else {
        1.0
    }
}

/// Whether two boxes are of one thing: they, or one of them, lie in the other by more than nine
/// tenths.
pub fn same(a: Bounds, b: Bounds) -> bool {
    const SAME: f64 = 0.9;
    let side = |from: f64, to: f64| to - from + 1.0;
    let area = |of: Bounds| side(of[0], of[2]) * side(of[1], of[3]);
    let common: f64 = [0, 1]
        .map(|axis| side(a[axis].max(b[axis]), a[axis + 2].min(b[axis + 2])).max(0.0))
        .iter()
        .product();
    [area(a) + area(b) - common, area(a), area(b)]
        .into_iter()
        .any(|of| common / of > SAME)
}

/// The frame that the original resizes pictures into: distances are in its pixels. (Factors of
/// width and height.)
pub fn frame(image: &Image) -> [f64; 2] {
    const SHORTER: f64 = 479.0;
    const LONGEST: f64 = 480.0;
    let (width, height) = (image.width() as f64, image.height() as f64);
    let (short, long) = (width.min(height), width.max(height));
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

/// The box of an object in that frame.
pub fn framed(object: &Object, [x, y]: [f64; 2]) -> Bounds {
    let [left, top, right, bottom] = object.bounds.map(f64::from);
    [left * x, top * y, right * x, bottom * y]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Bounds = [100.0, 100.0, 140.0, 140.0];

    /// The box, moved.
    fn moved(x: f64, y: f64) -> Bounds {
        [BOX[0] + x, BOX[1] + y, BOX[2] + x, BOX[3] + y]
    }

    #[test]
    fn places_are_seen_from_the_second_box() {
        let all = [Place::Left, Place::Right, Place::Top, Place::Bottom];
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
        assert_eq!(Place::Nowhere.score(moved(0.0, -60.0), BOX), 0.0);
    }

    #[test]
    fn overlap_and_distance_take_from_the_score() {
        // 20 x 40 of 60 x 40: an overlap of a third
        let half = Place::Left.score(moved(-20.0, 0.0), BOX);
        assert!((half - 0.3).abs() < 1e-12, "{half}");
        assert_eq!(
            Place::Near.score(moved(-300.0, 149.0), BOX),
            1.0,
            "one side is enough"
        );
        assert_eq!(Place::Near.score(moved(-300.0, 200.0), BOX), 0.5);
    }

    #[test]
    fn longer_words_do_not_hide_shorter_ones() {
        assert_eq!(
            Place::find("a cat on the top of a car"),
            Some(("on the top of", Place::Top))
        );
        assert_eq!(
            Place::find("the cat is on top of the car"),
            Some(("on top of", Place::Nowhere))
        );
        assert_eq!(Place::find("a cat and a car"), None);
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
    fn frames_are_those_of_the_original() {
        let sides = |width, height| {
            let [x, y] = frame(&Image::new(width, height, vec![0; 3 * width * height]));
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
