//! A prompt about a scene: its task, its text and its evaluation, with GenEval's tasks and rules.

pub use super::super::geneval::names::TASKS;
use super::{
    detector::DetectedShape,
    words::{Colour, Relation, SHAPES, Shape, counted, named},
};
use crate::hash::fnv;

/// The content of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScenePrompt {
    /// One object.
    One(Shape),
    /// One object of this colour.
    Coloured(Shape, Colour),
    /// Two kinds of object.
    Two(Shape, Shape),
    /// An exact number of objects, 2 to 4.
    Count(Shape, usize),
    /// The first object in this relation to the second.
    Related(Shape, Relation, Shape),
    /// Two objects, each with its colour.
    TwoColoured([(Shape, Colour); 2]),
}

impl ScenePrompt {
    /// Its task.
    pub fn task(self) -> &'static str {
        TASKS[match self {
            Self::One(_) => 0,
            Self::Two(..) => 1,
            Self::Count(..) => 2,
            Self::Coloured(..) => 3,
            Self::Related(..) => 4,
            Self::TwoColoured(_) => 5,
        }]
    }

    /// The prompt text, in GenEval's wording.
    pub fn text(self) -> String {
        let what = match self {
            Self::One(shape) => named(None, shape),
            Self::Coloured(shape, colour) => named(Some(colour), shape),
            Self::Two(a, b) => format!("{} and {}", named(None, a), named(None, b)),
            Self::Count(shape, count) => {
                let number = ["zero", "one", "two", "three", "four"]
                    .get(count)
                    .copied()
                    .unwrap_or("many");
                format!("{number} {}", SHAPES[shape as usize].1)
            }
            Self::Related(a, relation, b) => {
                format!("{} {} {}", named(None, a), relation.name(), named(None, b))
            }
            Self::TwoColoured([(a, first), (b, second)]) => {
                format!("{} and {}", named(Some(first), a), named(Some(second), b))
            }
        };
        format!("a photo of {what}")
    }

    /// All prompts of a task.
    pub fn all(task: &str) -> Vec<Self> {
        let pairs = || {
            Shape::ALL
                .into_iter()
                .flat_map(|a| Shape::ALL.map(|b| (a, b)))
                .filter(|(a, b)| a != b)
        };
        let colours = || {
            Colour::ALL
                .into_iter()
                .flat_map(|a| Colour::ALL.map(|b| (a, b)))
                .filter(|(a, b)| a != b)
        };
        match task {
            "single_object" => Shape::ALL.map(Self::One).to_vec(),
            "two_object" => pairs().map(|(a, b)| Self::Two(a, b)).collect(),
            "counting" => Shape::ALL
                .into_iter()
                .flat_map(|shape| [2, 3, 4].map(|n| Self::Count(shape, n)))
                .collect(),
            "colors" => Shape::ALL
                .into_iter()
                .flat_map(|shape| Colour::ALL.map(|c| Self::Coloured(shape, c)))
                .collect(),
            "position" => pairs()
                .flat_map(|(a, b)| Relation::ALL.map(|r| Self::Related(a, r, b)))
                .collect(),
            "color_attr" => pairs()
                .flat_map(|(a, b)| colours().map(move |(c, d)| Self::TwoColoured([(a, c), (b, d)])))
                .collect(),
            _ => vec![],
        }
    }

    /// A hash of the text that does not depend on the program.
    pub fn hash(self) -> u64 {
        fnv(self.text().bytes())
    }

    /// Returns whether training never saw this combination: one sixth of the two-object, position
    /// and two-colour prompts.
    pub fn held_out(self) -> bool {
        matches!(
            self,
            Self::Two(..) | Self::Related(..) | Self::TwoColoured(_)
        ) && (self.hash() >> 7).is_multiple_of(6)
    }

    /// Evaluates the detected objects by GenEval's rules: the named objects must be present;
    /// additional ones only matter in counting. Returns the verdict and its reason.
    pub fn evaluate(self, seen: &[DetectedShape]) -> (bool, String) {
        let all = |shape: Shape| seen.iter().filter(move |seen| seen.shape == shape);
        let has = |shape: Shape, colour: Colour| all(shape).any(|seen| seen.colour == colour);
        let right = match self {
            Self::One(shape) => all(shape).count() >= 1,
            Self::Coloured(shape, colour) => has(shape, colour),
            Self::Two(a, b) => all(a).count() >= 1 && all(b).count() >= 1,
            Self::Count(shape, count) => all(shape).count() == count,
            Self::Related(a, relation, b) => {
                all(a).any(|a| all(b).any(|b| a.is_related(relation, b)))
            }
            Self::TwoColoured(both) => both.into_iter().all(|(shape, colour)| has(shape, colour)),
        };
        let found = describe(seen);
        let reason = if right {
            format!("found {found}")
        } else {
            format!("found {found}; expected {}", self.expected())
        };
        (right, reason)
    }

    /// The expected content, without "a photo of".
    fn expected(self) -> String {
        match self {
            Self::Count(shape, count) => format!("exactly {}", counted(count, None, shape)),
            other => other.text().trim_start_matches("a photo of ").to_owned(),
        }
    }
}

/// `1 red circle, 2 blue stars`
fn describe(seen: &[DetectedShape]) -> String {
    let mut kinds: Vec<(Shape, Colour, usize)> = vec![];
    for object in seen {
        let known = kinds
            .iter_mut()
            .find(|(shape, colour, _)| (*shape, *colour) == (object.shape, object.colour));
        match known {
            Some((.., count)) => *count += 1,
            None => kinds.push((object.shape, object.colour, 1)),
        }
    }
    if kinds.is_empty() {
        return "no known object".to_owned();
    }
    let words: Vec<String> = kinds
        .into_iter()
        .map(|(shape, colour, count)| counted(count, Some(colour), shape))
        .collect();
    words.join(", ")
}
