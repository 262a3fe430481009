//! Pictures drawn here, with known boxes, run through everything that stands behind the detector's
//! network: masks and boxes at the size of the picture, crops, colours, rules. Scores are reported
//! only if all of it comes out right.
//!
//! GenEval's own chain has returned wrong boxes without a word on hardware that it did not know;
//! this is what would have told.

use ttsvar_search::Image;

use super::{
    crops::Cut,
    names::{COLOURS, OBJECTS, TASKS, colour, object},
    prompts::Metadata,
    rules::{Kept, Options, judge},
};
use crate::{
    Error, Result,
    detectors::{
        Object,
        instances::{Drawn, Geometry, from_rectangles},
    },
};

/// How far a box may be off, in pixels: the network's masks are four times coarser than the picture
/// it reads.
const BOXES: f32 = 2.0;

/// How far a score may be off.
const SCORES: f32 = 1e-3;

/// Size of the pictures: given, resized, padded, all (height, width).
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

/// A picture with a prompt that it fits and one that it does not.
struct Trial {
    things: &'static [Thing],
    right: &'static str,
    wrong: &'static str,
    reason: &'static str,
}

/// One trial for each task.
const TRIALS: [Trial; 6] = [
    Trial {
        things: &[
            thing("bench", "brown", 0.8, [20, 40, 100, 90]),
            thing("dog", "white", 0.2, [110, 20, 140, 50]),
        ],
        right: r#""include": [{"class": "bench", "count": 1}]"#,
        wrong: r#""include": [{"class": "dog", "count": 1}]"#,
        reason: "expected dog>=1, found 0",
    },
    Trial {
        things: &[
            thing("cat", "black", 0.9, [10, 10, 60, 50]),
            thing("toothbrush", "pink", 0.5, [90, 60, 150, 80]),
        ],
        right: r#""include": [{"class": "cat", "count": 1}, {"class": "toothbrush", "count": 1}]"#,
        wrong: r#""include": [{"class": "cat", "count": 2}, {"class": "toothbrush", "count": 1}]"#,
        reason: "expected cat>=2, found 1",
    },
    Trial {
        things: &[
            thing("clock", "red", 0.95, [8, 8, 48, 48]),
            thing("clock", "blue", 0.97, [56, 8, 96, 48]),
            thing("clock", "green", 0.8, [104, 8, 144, 48]),
        ],
        right: r#""include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}]"#,
        wrong: r#""include": [{"class": "clock", "count": 1}], "exclude": [{"class": "clock", "count": 2}]"#,
        reason: "expected clock<2, found 2",
    },
    Trial {
        things: &[
            thing("vase", "purple", 0.6, [40, 20, 80, 100]),
            thing("vase", "yellow", 0.5, [100, 20, 140, 100]),
        ],
        right: r#""include": [{"class": "vase", "count": 1, "color": "purple"}]"#,
        wrong: r#""include": [{"class": "vase", "count": 1, "color": "yellow"}]"#,
        reason: "expected yellow vase>=1, found 0 yellow; and 1 purple",
    },
    Trial {
        things: &[
            thing("person", "red", 0.7, [104, 40, 144, 100]),
            thing("car", "blue", 0.7, [8, 48, 64, 92]),
        ],
        right: r#""include": [{"class": "person", "count": 1}, {"class": "car", "count": 1, "position": ["left of", 0]}]"#,
        wrong: r#""include": [{"class": "person", "count": 1}, {"class": "car", "count": 1, "position": ["above", 0]}]"#,
        reason: "expected car above target, found left of target",
    },
    Trial {
        things: &[
            thing("cup", "green", 0.9, [16, 16, 56, 56]),
            thing("apple", "orange", 0.9, [96, 64, 136, 104]),
        ],
        right: r#""include": [{"class": "cup", "count": 1, "color": "green"}, {"class": "apple", "count": 1, "color": "orange"}]"#,
        wrong: r#""include": [{"class": "cup", "count": 1, "color": "orange"}, {"class": "apple", "count": 1, "color": "orange"}]"#,
        reason: "expected orange cup>=1, found 0 orange; and 1 green",
    },
];

/// Colours as they are drawn, in the order of [`COLOURS`].
const PAINTS: [[u8; 3]; 10] = [
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

/// Draws, detects, crops, judges. Returns the number of pictures.
///
/// # Errors
/// [`Error::Input`] that says what came out wrong.
pub fn self_test() -> Result<usize> {
    with(|drawn, size| from_rectangles(drawn, OBJECTS.len(), size))
}

/// The same with another way from rectangles to objects.
///
/// # Errors
/// As [`self_test`].
pub fn with(detect: impl Fn(&[Drawn], Geometry) -> Result<Vec<Object>>) -> Result<usize> {
    for (trial, task) in TRIALS.iter().zip(TASKS) {
        trial.run(task, &detect).map_err(|error| {
            Error::input(format!(
                "the self-test failed, nothing was judged: {task}: {error}"
            ))
            .with_hint(
                "detector and rules disagree on pictures that this program drew; please report it",
            )
        })?;
    }
    Ok(TRIALS.len())
}

impl Trial {
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
        for one in &drawn {
            if !found.iter().any(|object| fits(object, one)) {
                return Err(Error::input(format!(
                    "no {} was found at {:?}",
                    OBJECTS[one.class], one.bounds
                )));
            }
        }
        let image = self.picture();
        for (asked, reason) in [(self.right, ""), (self.wrong, self.reason)] {
            let metadata =
                Metadata::read(&format!(r#"{{"tag": "{task}", "prompt": "", {asked}}}"#))?;
            let options = Options::default();
            let kept = Kept::new(&found, metadata.tag, &options);
            let verdict = judge(&metadata, &kept, &options, |_, objects| {
                Ok(objects
                    .iter()
                    .map(|object| nearest_colour(&Cut::default().out(&image, object)))
                    .collect())
            })?;
            if verdict.correct != reason.is_empty() || verdict.reason != reason {
                return Err(Error::input(format!(
                    "expected `{reason}`, the rules say `{}`",
                    verdict.reason
                )));
            }
        }
        Ok(())
    }

    /// The things on a light background.
    fn picture(&self) -> Image {
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
                .map_or(BACKGROUND, |at| PAINTS[at])
        };
        Image::new(width, height, (0..width * height).flat_map(pixel).collect())
    }
}

impl Thing {
    fn drawn(&self) -> Result<Drawn> {
        let class = object(self.class)
            .ok_or_else(|| Error::input(format!("there is no `{}`", self.class)))?;
        Ok(Drawn {
            class,
            score: self.score,
            bounds: self.bounds,
        })
    }
}

/// Whether an object is the one that was drawn: box, mask and score.
fn fits(object: &Object, drawn: &Drawn) -> bool {
    let near = |(found, drawn): (&f32, &usize)| (found - *drawn as f32).abs() <= BOXES;
    let [left, top, right, bottom] = drawn.bounds;
    let (width, height) = ((right - left) as f32, (bottom - top) as f32);
    let rim = BOXES * 2.0 * (width + height);
    object.class == drawn.class
        && (object.score - drawn.score).abs() <= SCORES
        && object.bounds.iter().zip(&drawn.bounds).all(near)
        && object
            .mask
            .as_ref()
            .is_some_and(|mask| (mask.area() as f32 - width * height).abs() <= rim)
}

/// The colour that is nearest to the pixels in the middle of a crop.
fn nearest_colour(crop: &Image) -> usize {
    let middle = 3 * (crop.height() / 2 * crop.width() + crop.width() / 2);
    let pixel = &crop.pixels()[middle..middle + 3];
    let distance = |paint: &[u8; 3]| -> i32 {
        paint
            .iter()
            .zip(pixel)
            .map(|(a, b)| (i32::from(*a) - i32::from(*b)).pow(2))
            .sum()
    };
    (0..COLOURS.len())
        .min_by_key(|&at| distance(&PAINTS[at]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The self-test with objects that something went wrong with.
    fn broken(change: impl Fn(&mut Object)) -> String {
        let detect = |drawn: &[Drawn], size: Geometry| {
            let mut found = from_rectangles(drawn, OBJECTS.len(), size)?;
            found.iter_mut().for_each(&change);
            Ok(found)
        };
        with(detect).expect_err("a broken detector").to_string()
    }

    #[test]
    fn what_is_right_passes_and_what_is_wrong_does_not() {
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
        let blind = with(|_, _| Ok(vec![]));
        assert!(
            blind
                .unwrap_err()
                .to_string()
                .starts_with("the self-test failed, nothing was judged")
        );
    }
}
