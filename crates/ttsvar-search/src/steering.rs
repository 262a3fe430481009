//! Steering: where in the image a generator is led to place the concepts of a prompt.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of the prompt and the rectangle that it is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The part of the prompt: `a red circle`.
    pub text: String,
    /// Left, top, right and bottom in fractions of the image, 0 to 1.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
}

impl Region {
    /// Returns whether the rectangle lies in the image and is not empty.
    pub fn is_possible(&self) -> bool {
        let [left, top, right, bottom] = self.bounds;
        let inside = |from: f64, to: f64| 0.0 <= from && from < to && to <= 1.0;
        inside(left, right) && inside(top, bottom)
    }
}

/// The regions of one image.
pub type Layout = Vec<Region>;

/// How the candidates of a search are steered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// The scales at which they are steered.
    pub scales: Vec<usize>,
    /// The layouts; each candidate has one of them, or none. Empty if the prompt does not say where
    /// its concepts are.
    pub layouts: Vec<Layout>,
}

/// The text and its place: `a red circle in the left half`.
impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        let place = PLACES.iter().find(|(_, bounds)| *bounds == self.bounds);
        match place {
            Some((place, _)) => write!(f, "{text} in the {place}"),
            None => {
                let [left, top, right, bottom] = self.bounds;
                write!(
                    f,
                    "{text} in [{left:.2}, {top:.2}, {right:.2}, {bottom:.2}]"
                )
            }
        }
    }
}

/// Parts of an image that have a name.
const PLACES: [(&str, [f64; 4]); 9] = [
    ("whole image", [0.0, 0.0, 1.0, 1.0]),
    ("left half", [0.0, 0.0, 0.5, 1.0]),
    ("right half", [0.5, 0.0, 1.0, 1.0]),
    ("upper half", [0.0, 0.0, 1.0, 0.5]),
    ("lower half", [0.0, 0.5, 1.0, 1.0]),
    ("upper left quarter", [0.0, 0.0, 0.5, 0.5]),
    ("upper right quarter", [0.5, 0.0, 1.0, 0.5]),
    ("lower left quarter", [0.0, 0.5, 0.5, 1.0]),
    ("lower right quarter", [0.5, 0.5, 1.0, 1.0]),
];

/// What is steered, in a line.
impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scales: Vec<String> = self.scales.iter().map(usize::to_string).collect();
        let scales = format!("steering at scale {}", scales.join(", "));
        match self.layouts.as_slice() {
            [] => f.write_str(
                "nothing is steered: the prompt does not say for certain where its concepts are",
            ),
            [layout] => {
                let regions: Vec<String> = layout.iter().map(Region::to_string).collect();
                write!(f, "{scales}: {}", regions.join(", "))
            }
            layouts => write!(
                f,
                "{scales}: each candidate draws one of {} layouts",
                layouts.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_lie_in_the_image() {
        let possible = |bounds| {
            let text = "a star".to_owned();
            Region { text, bounds }.is_possible()
        };
        assert!(possible([0.0, 0.0, 1.0, 1.0]) && possible([0.25, 0.5, 0.75, 1.0]));
        for wrong in [
            [0.5, 0.0, 0.5, 1.0],
            [0.0, 0.6, 1.0, 0.4],
            [-0.1, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.1],
            [f64::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, f64::INFINITY, 1.0],
        ] {
            assert!(!possible(wrong), "{wrong:?}");
        }
    }
}
