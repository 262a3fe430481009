//! The things in prompts and the detector's classes. T2I-CompBench's own detector, UniDet, has some
//! 700 classes, ours the 80 of COCO: many prompts name things that it cannot find.

use crate::eval::geneval::names::object;

/// Words of the prompts with their classes (by GenEval's names). The first four and `ship` are in
/// the original; the others are its detector's names for COCO's classes.
const OTHER_NAMES: [(&str, &str); 15] = [
    ("girl", "person"),
    ("boy", "person"),
    ("man", "person"),
    ("woman", "person"),
    ("ship", "boat"),
    ("bag", "handbag"),
    ("computer", "laptop"),
    ("glove", "baseball glove"),
    ("phone", "cell phone"),
    ("plant", "potted plant"),
    ("remote", "tv remote"),
    ("keyboard", "computer keyboard"),
    ("sofa", "couch"),
    ("table", "dining table"),
    ("television", "tv"),
];

/// The class of a thing, if the detector has one. A `mouse` is the animal, which COCO does not
/// have.
pub fn class(word: &str) -> Option<usize> {
    let other = OTHER_NAMES
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, class)| *class);
    object(other.unwrap_or(word))
}

/// The things in numeracy prompts (the original's `new_objects.txt`), in the singular.
const COUNTED: &str = "\
    airplane apple backpack bag balloon banana bear bee bicycle bird boat book bottle bowl boy \
    bread butterfly cake camel camera candle car cat chair chicken clock computer couch cow cup \
    deer desk dog drum duck egg fish flag frog giraffe girl goldfish guitar hamburger helicopter \
    helmet horse key kite knife lamp lemon man microphone microwave mouse paddle painting peach \
    pear pen person phone pig pillow plate printer rabbit refrigerator sheep ship shrimp sink \
    sofa stool strawberry suitcase swan table television tent tomato toy train truck turtle vase \
    woman";

/// Irregular plurals.
const PLURALS: [(&str, &str); 6] = [
    ("man", "men"),
    ("woman", "women"),
    ("person", "people"),
    ("mouse", "mice"),
    ("knife", "knives"),
    ("bread", "breads"),
];

/// Things whose plural equals the singular.
const UNCHANGED: [&str; 5] = ["deer", "fish", "goldfish", "sheep", "shrimp"];

/// The singular of a counted thing, given its singular or plural.
pub fn counted(word: &str) -> Option<&'static str> {
    COUNTED
        .split(' ')
        .find(|thing| *thing == word || plural(thing) == word)
}

/// The plural.
fn plural(thing: &str) -> String {
    if let Some((_, plural)) = PLURALS.iter().find(|(one, _)| *one == thing) {
        return (*plural).to_owned();
    }
    if UNCHANGED.contains(&thing) {
        return thing.to_owned();
    }
    let consonant_y = thing
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    match consonant_y {
        Some(stem) => format!("{stem}ies"),
        None if thing.ends_with(['h', 'x', 's']) || thing == "tomato" => format!("{thing}es"),
        None => format!("{thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::geneval::names::OBJECTS;

    #[test]
    fn every_other_name_leads_to_a_class() {
        for (name, shown_by) in OTHER_NAMES {
            assert_eq!(
                class(name).map(|class| OBJECTS[class]),
                Some(shown_by),
                "{name}"
            );
            assert!(object(name).is_none(), "{name} has a class of its own");
        }
        assert_eq!(class("mouse"), None);
    }

    #[test]
    fn plurals_and_singulars_are_the_same_thing() {
        let plurals = [
            ("boys", "boy"),
            ("strawberries", "strawberry"),
            ("butterflies", "butterfly"),
            ("peaches", "peach"),
            ("couches", "couch"),
            ("tomatoes", "tomato"),
            ("mice", "mouse"),
            ("fish", "fish"),
            ("women", "woman"),
            ("knives", "knife"),
            ("people", "person"),
            ("keys", "key"),
            ("toys", "toy"),
            ("buses", ""),
            ("picnic", ""),
        ];
        for (plural, one) in plurals {
            assert_eq!(counted(plural).unwrap_or_default(), one, "{plural}");
        }
    }
}
