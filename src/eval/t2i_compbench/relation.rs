//! Evaluates whether two things are in the relation that a prompt names.
//!
//! Reference: Karine-Huang/T2I-CompBench, `UniDet_eval/2D_spatial_eval.py`.

use super::{
    boxes::{SpatialRelation, resized},
    grammar::{nouns, tokens},
    things,
};
use crate::detectors::Object;

/// Minimum score of an object, here and in counting.
pub const THRESHOLD: f32 = 0.5;

/// The relation of two things in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationSpec {
    /// The first and the second thing; the original finds none in some sentences.
    pub things: Option<[String; 2]>,
    /// The position of the first relative to the second, with the prompt's words.
    pub relation: Option<(&'static str, SpatialRelation)>,
}

/// The words that the original searches for in sentences to find the things before and after them.
const PREPOSITIONS: [&[&str]; 7] = [
    &["on", "top", "of"],
    &["on", "bottom", "of"],
    &["on", "the", "left"],
    &["on", "the", "right"],
    &["on", "side", "of"],
    &["next", "to"],
    &["near"],
];

impl RelationSpec {
    /// Parses a pattern such as `a giraffe next to a lamp`: the first and the last noun.
    pub fn from_pattern(prompt: &str) -> Self {
        let nouns = nouns(prompt);
        let ends = nouns.first().zip(nouns.last());
        Self {
            things: ends.map(|(a, b)| [a.1.clone(), b.1.clone()]),
            relation: SpatialRelation::find(prompt),
        }
    }

    /// Parses a sentence: the nouns next to the words for the relation, if these occur once.
    pub fn from_sentence(prompt: &str) -> Self {
        let all = tokens(prompt);
        let nouns = nouns(prompt);
        let mut things = vec![];
        for at in 0..all.len() {
            let here = |words: &&&[&str]| {
                words
                    .iter()
                    .enumerate()
                    .all(|(i, word)| all.get(at + i).is_some_and(|token| token.word == *word))
            };
            let Some(words) = PREPOSITIONS.iter().find(here) else {
                continue;
            };
            things.extend(nouns.iter().rev().find(|(place, _)| *place < at));
            things.extend(nouns.iter().find(|(place, _)| *place >= at + words.len()));
        }
        let things = <[&(usize, String); 2]>::try_from(things).ok();
        Self {
            things: things.map(|things| things.map(|(_, word)| word.clone())),
            relation: SpatialRelation::find(prompt),
        }
    }

    /// Returns the score and its reason. `found` are the objects of the image, the most certain
    /// first; see [`super::boxes::resize_factors`] for `factors`.
    pub fn evaluate(&self, found: &[Object], factors: [f64; 2]) -> (f64, String) {
        let Some(things) = &self.things else {
            return (0.0, "no two things were found in the prompt".to_owned());
        };
        let [a, b] = things.each_ref().map(|thing| seen(thing, found));
        let certain =
            |object: Option<&Object>| object.map_or(0.0, |object| 0.25 * f64::from(object.score));
        let mut score = certain(a) + certain(b);
        let mut reason = [(&things[0], a), (&things[1], b)]
            .map(|(thing, object)| named(thing, object))
            .join(", ");
        if let (Some(a), Some(b)) = (a, b) {
            let (words, holds) = match self.relation {
                Some((words, relation)) => {
                    let holds = relation.score(resized(a, factors), resized(b, factors));
                    (words, holds)
                }
                None => ("no relation", 0.0),
            };
            reason += &format!("; {words}: {holds:.2}");
            score += holds / 2.0;
        }
        (if score < 0.5 { 0.0 } else { score }, reason)
    }
}

/// The most certain object of the class of a thing.
fn seen<'o>(thing: &str, found: &'o [Object]) -> Option<&'o Object> {
    let class = things::class(thing)?;
    found
        .iter()
        .find(|object| object.class == class && object.score >= THRESHOLD)
}

/// `dog (0.93)`, `frog (no class of the detector)`
fn named(thing: &str, object: Option<&Object>) -> String {
    match object {
        Some(object) => format!("{thing} ({:.2})", object.score),
        None if things::class(thing).is_none() => format!("{thing} (no class of the detector)"),
        None => format!("{thing} (not found)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::geneval::names::object;

    fn thing(name: &str, score: f32, bounds: [f32; 4]) -> Object {
        Object {
            class: object(name).unwrap(),
            score,
            bounds,
            mask: None,
        }
    }

    #[test]
    fn things_are_found_in_patterns_and_sentences() {
        let pattern = RelationSpec::from_pattern("a sheep on the left of a street lamp");
        assert_eq!(pattern.things, Some(["sheep", "lamp"].map(String::from)));
        assert_eq!(
            pattern.relation,
            Some(("on the left of", SpatialRelation::Left))
        );
        let sentence = |prompt: &str| RelationSpec::from_sentence(prompt).things;
        let things = |a: &str, b: &str| Some([a, b].map(String::from));
        assert_eq!(
            sentence("The red hat was on top of the brown shoe rack."),
            things("hat", "shoe")
        );
        assert_eq!(
            sentence("The green plant is on the left of the soft couch."),
            things("plant", "couch")
        );
        assert_eq!(
            sentence("The plant stood near the cat next to the dog."),
            None,
            "two places"
        );
        assert_eq!(sentence("The fluffy cat was lying on the rug."), None);
    }

    #[test]
    fn certainty_and_place_make_the_score() {
        let relation = RelationSpec::from_pattern("a dog on the left of a man");
        let dog = thing("dog", 0.75, [0.0, 0.0, 100.0, 100.0]);
        let man = thing("person", 0.875, [300.0, 0.0, 400.0, 100.0]);
        let evaluate = |found: &[Object]| relation.evaluate(found, [1.0, 1.0]);
        let both = [
            dog.clone(),
            man.clone(),
            thing("dog", 0.5, [420.0, 0.0, 430.0, 100.0]),
        ];
        assert_eq!(
            evaluate(&both),
            (
                0.90625,
                "dog (0.75), man (0.88); on the left of: 1.00".to_owned()
            )
        );
        let wrong =
            RelationSpec::from_pattern("a dog on the top of a man").evaluate(&both, [1.0, 1.0]);
        assert_eq!(wrong.0, 0.0, "below one half is nothing");
        assert_eq!(
            evaluate(std::slice::from_ref(&dog)),
            (0.0, "dog (0.75), man (not found)".to_owned())
        );
        assert_eq!(
            evaluate(&[thing("dog", 0.49, dog.bounds), man]).0,
            0.0,
            "too uncertain"
        );
        let (score, reason) =
            RelationSpec::from_pattern("a frog near a dog").evaluate(&[dog], [1.0, 1.0]);
        assert_eq!(
            (score, reason.as_str()),
            (0.0, "frog (no class of the detector), dog (0.75)")
        );
    }

    #[test]
    fn distances_are_in_the_pixels_of_the_frame() {
        let relation = RelationSpec::from_pattern("a dog near a cat");
        let found = [
            thing("dog", 0.9, [0.0, 0.0, 20.0, 20.0]),
            thing("cat", 0.9, [600.0, 600.0, 620.0, 620.0]),
        ];
        assert!(relation.evaluate(&found, [0.2, 0.2]).0 > relation.evaluate(&found, [1.0, 1.0]).0);
    }
}
