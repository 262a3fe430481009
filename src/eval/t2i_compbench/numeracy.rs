//! Evaluates whether the numbers of things are those of a prompt.
//!
//! Reference: Karine-Huang/T2I-CompBench, `UniDet_eval/numeracy_eval.py`.

use super::{
    boxes::{resized, same},
    grammar::tokens,
    relation::THRESHOLD,
    things,
};
use crate::detectors::Object;

/// Number words and their values.
const NUMBERS: [(&str, usize); 10] = [
    ("a", 1),
    ("an", 1),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
];

/// A number of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The thing, in the singular.
    pub thing: &'static str,
    /// The number.
    pub number: usize,
}

/// The counts in a prompt: number words followed by things.
pub fn counts(prompt: &str) -> Vec<Count> {
    let mut counts = vec![];
    for pair in tokens(prompt).windows(2) {
        let number = NUMBERS.into_iter().find(|(name, _)| *name == pair[0].word);
        if let (Some((_, number)), Some(thing)) = (number, things::counted(&pair[1].word)) {
            counts.push(Count { thing, number });
        }
    }
    counts
}

/// Returns the score and its reason: each thing gives half of its share if it is present, and the
/// other half if the number is right.
pub fn evaluate(counts: &[Count], found: &[Object], factors: [f64; 2]) -> (f64, String) {
    let kept = distinct(found, factors);
    let weight = 1.0 / counts.len().max(1) as f64;
    let mut score = 0.0;
    let mut reasons = vec![];
    for Count { thing, number } in counts {
        let class = things::class(thing);
        let there = kept
            .iter()
            .filter(|object| Some(object.class) == class)
            .count();
        score += match there {
            0 => 0.0,
            n if n == *number => weight,
            _ => 0.5 * weight,
        };
        let known = if class.is_none() {
            " (no class of the detector)"
        } else {
            ""
        };
        reasons.push(format!("{thing}: {there} of {number}{known}"));
    }
    (score, reasons.join(", "))
}

/// The objects that are certain enough, without duplicates: of two objects of a class at the same
/// position, the first counts.
fn distinct(found: &[Object], factors: [f64; 2]) -> Vec<&Object> {
    let mut kept: Vec<&Object> = vec![];
    for object in found.iter().filter(|object| object.score >= THRESHOLD) {
        let again = |other: &&&Object| {
            other.class == object.class && same(resized(object, factors), resized(other, factors))
        };
        if kept.iter().find(again).is_none() {
            kept.push(object);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::geneval::names::object;

    /// A thing in the cell of a grid.
    fn thing(name: &str, cell: usize) -> Object {
        let left = 50.0 * cell as f32;
        Object {
            class: object(name).unwrap(),
            score: 0.5,
            bounds: [left, 0.0, left + 40.0, 40.0],
            mask: None,
        }
    }

    #[test]
    fn prompts_are_counted() {
        let read = |prompt: &str| {
            counts(prompt)
                .iter()
                .map(|count| (count.thing, count.number))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            read("three sofas, two mice and one key"),
            [("sofa", 3), ("mouse", 2), ("key", 1)]
        );
        assert_eq!(read("eight people met for a picnic"), [("person", 8)]);
        assert_eq!(
            read("a fish, two stools, and an egg were here"),
            [("fish", 1), ("stool", 2), ("egg", 1)]
        );
        assert_eq!(read("the birds"), []);
    }

    #[test]
    fn being_there_is_half_and_the_number_the_other_half() {
        let counts = counts("two sofas and one man");
        let evaluate = |found: &[Object]| evaluate(&counts, found, [1.0, 1.0]);
        let (sofa, man) = (|cell| thing("couch", cell), thing("person", 5));
        assert_eq!(
            evaluate(&[sofa(0), sofa(1), man.clone()]),
            (1.0, "sofa: 2 of 2, man: 1 of 1".to_owned())
        );
        assert_eq!(
            evaluate(&[sofa(0), sofa(0), man.clone()]).0,
            0.75,
            "one sofa, found twice"
        );
        assert_eq!(
            evaluate(&[sofa(0), sofa(1), sofa(2)]),
            (0.25, "sofa: 3 of 2, man: 0 of 1".to_owned())
        );
        assert_eq!(evaluate(&[Object { score: 0.49, ..man }]).0, 0.0);
        assert_eq!(
            super::evaluate(&super::counts("two frogs"), &[], [1.0; 2]).1,
            "frog: 0 of 2 (no class of the detector)"
        );
    }
}
