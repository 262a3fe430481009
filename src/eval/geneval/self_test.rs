//! A self-test: synthetic images with known boxes run through everything behind the detector's
//! network: masks and boxes at the size of the image, crops, colours, rules. Results are only
//! reported if the self-test passes.
//!
//! GenEval's own programs have silently returned wrong boxes on unsupported hardware; this test
//! would have detected that.

use ttsvar_search::Image;

use super::{
    crops::CropOptions,
    names::{COLOURS, OBJECTS, TASKS, colour, object},
    prompts::Metadata,
    rules::{ConfidentObjects, RuleOptions, evaluate},
};
use crate::{
    Error, Result,
    detectors::{
        Object,
        instances::{Drawn, Geometry, from_rectangles},
    },
};

/// Tolerance of boxes in pixels: the network's masks are four times coarser than its input.
const BOXES: f32 = 2.0;

/// Tolerance of scores.
const SCORES: f32 = 1e-3;

/// Size of the images: original, resized, padded, all (height, width).
const SIZE: Geometry = Geometry {
    original: (120, 160),
    valid: (225, 300),
    padded: (256, 320),
};

/// A coloured rectangle.
struct Thing {
    class: &'static str,
    colour: &'static str,
    score: f32,
    bounds: [usize; 4],
}

const fn thing(class: &'static str, colour: &'static str, score: f32, bounds: [usize; 4]) -> Thing {
    Thing {
        class,
        colour,
        score,
        bounds,
    }
}

/// An image with a matching prompt and one that does not match.
struct SelfTestCase {
    things: &'static [Thing],
    right: &'static str,
    wrong: &'static str,
    reason: &'static str,
}

/// One case per task.
const CASES: [SelfTestCase; 6] = [
    SelfTestCase {
        things: &[
            thing("bench", "brown", 0.8, [20, 40, 100, 90]),
            thing("dog", "white", 0.2, [110, 20, 140, 50]),
        ],
        right: r#""include": [{"class": "bench", "count": 1}]"#,
        wrong: r#""include": [{"class": "dog", "count": 1}]"#,
        reason: "expected dog>=1, found 0",
    },
    SelfTestCase {
        things: &[
            thing("cat", "black", 0.9, [10, 10, 60, 50]),
            thing("toothbrush", "pink", 0.5, [90, 60, 150, 80]),
        ],
        right: r#""include": [{"class": "cat", "count": 1}, {"class": "toothbrush", "count": 1}]"#,
        wrong: r#""include": [{"class": "cat", "count": 2}, {"class": "toothbrush", "count": 1}]"#,
        reason: "expected cat>=2, found 1",
    },
    SelfTestCase {
        things: &[
            thing("clock", "red", 0.95, [8, 8, 48, 48]),
            thing("clock", "blue", 0.97, [56, 8, 96, 48]),
            thing("clock", "green", 0.8, [104, 8, 144, 48]),
        ],
        right: concat!(
            r#""include": [{"class": "clock", "count": 2}], "#,
            r#""exclude": [{"class": "clock", "count": 3}]"#
        ),
        wrong: concat!(
            r#""include": [{"class": "clock", "count": 1}], "#,
            r#""exclude": [{"class": "clock", "count": 2}]"#
        ),
        reason: "expected clock<2, found 2",
    },
    SelfTestCase {
        things: &[
            thing("vase", "purple", 0.6, [40, 20, 80, 100]),
            thing("vase", "yellow", 0.5, [100, 20, 140, 100]),
        ],
        right: r#""include": [{"class": "vase", "count": 1, "color": "purple"}]"#,
        wrong: r#""include": [{"class": "vase", "count": 1, "color": "yellow"}]"#,
        reason: "expected yellow vase>=1, found 0 yellow; and 1 purple",
    },
    SelfTestCase {
        things: &[
            thing("person", "red", 0.7, [104, 40, 144, 100]),
            thing("car", "blue", 0.7, [8, 48, 64, 92]),
        ],
        right: concat!(
            r#""include": [{"class": "person", "count": 1}, "#,
            r#"{"class": "car", "count": 1, "position": ["left of", 0]}]"#
        ),
        wrong: concat!(
            r#""include": [{"class": "person", "count": 1}, "#,
            r#"{"class": "car", "count": 1, "position": ["above", 0]}]"#
        ),
        reason: "expected car above target, found left of target",
    },
    SelfTestCase {
        things: &[
            thing("cup", "green", 0.9, [16, 16, 56, 56]),
            thing("apple", "orange", 0.9, [96, 64, 136, 104]),
        ],
        right: concat!(
            r#""include": [{"class": "cup", "count": 1, "color": "green"}, "#,
            r#"{"class": "apple", "count": 1, "color": "orange"}]"#
        ),
        wrong: concat!(
            r#""include": [{"class": "cup", "count": 1, "color": "orange"}, "#,
            r#"{"class": "apple", "count": 1, "color": "orange"}]"#
        ),
        reason: "expected orange cup>=1, found 0 orange; and 1 green",
    },
];

/// Colour values of the rectangles, in the order of [`COLOURS`].
const COLOUR_VALUES: [[u8; 3]; 10] = [
    [230, 20, 20],
    [255, 140, 0],
    [250, 230, 20],
    [20, 160, 40],
    [20, 60, 230],
    [130, 20, 160],
    [255, 150, 200],
    [120, 70, 20],
    [10, 10, 10],
    [250, 250, 250],
];

/// Runs all cases and returns their number.
///
/// # Errors
/// [`Error::Input`] that names the wrong result.
pub fn self_test() -> Result<usize> {
    self_test_with(|drawn, size| from_rectangles(drawn, OBJECTS.len(), size))
}

/// The same with another conversion of rectangles to objects.
///
/// # Errors
/// As [`self_test`].
pub fn self_test_with(detect: impl Fn(&[Drawn], Geometry) -> Result<Vec<Object>>) -> Result<usize> {
    for (case, task) in CASES.iter().zip(TASKS) {
        case.run(task, &detect).map_err(|error| {
            Error::input(format!(
                "the self-test failed, nothing was evaluated: {task}: {error}"
            ))
            .with_hint("detector and rules disagree on synthetic images; please report it")
        })?;
    }
    Ok(CASES.len())
}

impl SelfTestCase {
    fn run(
        &self,
        task: &str,
        detect: impl Fn(&[Drawn], Geometry) -> Result<Vec<Object>>,
    ) -> Result<()> {
        let drawn = self
            .things
            .iter()
            .map(Thing::drawn)
            .collect::<Result<Vec<_>>>()?;
        let found = detect(&drawn, SIZE)?;
        for expected in &drawn {
            if !found.iter().any(|object| fits(object, expected)) {
                return Err(Error::input(format!(
                    "no {} was found at {:?}",
                    OBJECTS[expected.class], expected.bounds
                )));
            }
        }
        let image = self.image();
        for (asked, reason) in [(self.right, ""), (self.wrong, self.reason)] {
            let metadata =
                Metadata::read(&format!(r#"{{"tag": "{task}", "prompt": "", {asked}}}"#))?;
            let options = RuleOptions::default();
            let kept = ConfidentObjects::new(&found, metadata.tag, &options);
            let verdict = evaluate(&metadata, &kept, &options, |_, objects| {
                Ok(objects
                    .iter()
                    .map(|object| nearest_colour(&CropOptions::default().crop(&image, object)))
                    .collect())
            })?;
            if verdict.correct != reason.is_empty() || verdict.reason != reason {
                return Err(Error::input(format!(
                    "expected `{reason}`, found `{}`",
                    verdict.reason
                )));
            }
        }
        Ok(())
    }

    /// The rectangles on a light background.
    fn image(&self) -> Image {
        const BACKGROUND: [u8; 3] = [205, 215, 210];
        let (height, width) = SIZE.original;
        let pixel = |i: usize| {
            let holds = |thing: &&Thing| {
                let [left, top, right, bottom] = thing.bounds;
                (left..right).contains(&(i % width)) && (top..bottom).contains(&(i / width))
            };
            self.things
                .iter()
                .find(holds)
                .and_then(|thing| colour(thing.colour))
                .map_or(BACKGROUND, |at| COLOUR_VALUES[at])
        };
        Image::new(width, height, (0..width * height).flat_map(pixel).collect())
    }
}

impl Thing {
    fn drawn(&self) -> Result<Drawn> {
        let class = object(self.class)
            .ok_or_else(|| Error::input(format!("unknown object `{}`", self.class)))?;
        Ok(Drawn {
            class,
            score: self.score,
            bounds: self.bounds,
        })
    }
}

/// Returns whether a detected object matches: class, box, mask and score.
fn fits(object: &Object, drawn: &Drawn) -> bool {
    let near = |(found, drawn): (&f32, &usize)| (found - *drawn as f32).abs() <= BOXES;
    let [left, top, right, bottom] = drawn.bounds;
    let width = (right - left) as f32;
    let height = (bottom - top) as f32;
    let rim = BOXES * 2.0 * (width + height);
    object.class == drawn.class
        && (object.score - drawn.score).abs() <= SCORES
        && object.bounds.iter().zip(&drawn.bounds).all(near)
        && object
            .mask
            .as_ref()
            .is_some_and(|mask| (mask.area() as f32 - width * height).abs() <= rim)
}

/// The colour nearest to the pixel in the middle of a crop.
fn nearest_colour(crop: &Image) -> usize {
    let middle = 3 * (crop.height() / 2 * crop.width() + crop.width() / 2);
    let pixel = &crop.pixels()[middle..middle + 3];
    let distance = |value: &[u8; 3]| -> i32 {
        value
            .iter()
            .zip(pixel)
            .map(|(a, b)| (i32::from(*a) - i32::from(*b)).pow(2))
            .sum()
    };
    (0..COLOURS.len())
        .min_by_key(|&at| distance(&COLOUR_VALUES[at]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The self-test with altered objects.
    fn broken(change: impl Fn(&mut Object)) -> String {
        let detect = |drawn: &[Drawn], size: Geometry| {
            let mut found = from_rectangles(drawn, OBJECTS.len(), size)?;
            found.iter_mut().for_each(&change);
            Ok(found)
        };
        self_test_with(detect)
            .expect_err("a broken detector")
            .to_string()
    }

    #[test]
    fn correct_detections_pass_and_altered_ones_fail() {
        assert_eq!(self_test().unwrap(), TASKS.len());
        assert!(
            broken(|object| object.bounds.swap(0, 1))
                .contains("single_object: no bench was found at [20, 40")
        );
        assert!(
            broken(|object| object.bounds.iter_mut().for_each(|side| *side += 4.0))
                .contains("no bench")
        );
        assert!(broken(|object| object.class = (object.class + 1) % 80).contains("no bench"));
        assert!(broken(|object| object.score *= 0.99).contains("no bench"));
        assert!(broken(|object| object.mask = None).contains("no bench"));
        let blind = self_test_with(|_, _| Ok(vec![]));
        assert!(
            blind
                .unwrap_err()
                .to_string()
                .starts_with("the self-test failed, nothing was evaluated")
        );
    }
}
