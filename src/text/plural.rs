//! English plurals, as far as prompts have them.

/// Plurals that the endings below get wrong.
const WHOLE: [(&str, &str); 14] = [
    ("axes", "axe"),
    ("brownies", "brownie"),
    ("canoes", "canoe"),
    ("cookies", "cookie"),
    ("hoodies", "hoodie"),
    ("movies", "movie"),
    ("olives", "olive"),
    ("pies", "pie"),
    ("smoothies", "smoothie"),
    ("ties", "tie"),
    ("toes", "toe"),
    ("valves", "valve"),
    ("wives", "wife"),
    ("zombies", "zombie"),
];

/// Endings of plurals and of their singulars. The first that fits is most often right.
const ENDINGS: [(&str, &str); 29] = [
    ("people", "person"),
    ("children", "child"),
    ("men", "man"),
    ("feet", "foot"),
    ("teeth", "tooth"),
    ("geese", "goose"),
    ("mice", "mouse"),
    ("knives", "knife"),
    ("leaves", "leaf"),
    ("loaves", "loaf"),
    ("scarves", "scarf"),
    ("thieves", "thief"),
    ("hooves", "hoof"),
    ("olves", "olf"),
    ("elves", "elf"),
    ("alves", "alf"),
    ("shoes", "shoe"),
    ("ouses", "ouse"),
    ("uses", "us"),
    ("oes", "o"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("sses", "ss"),
    ("xes", "x"),
    ("ies", "y"),
    ("s", ""),
    ("es", ""),
    ("ves", "fe"),
    ("ves", "f"),
];

/// What a noun, perhaps with words in front, may be the plural of, the likeliest first; nothing if it
/// cannot be a plural.
pub(super) fn singulars(noun: &str) -> Vec<String> {
    if noun.ends_with("ss") {
        return vec![];
    }
    let last = noun.rsplit(' ').next().unwrap_or_default();
    let before = &noun[..noun.len() - last.len()];
    let whole = WHOLE.iter().filter(|(plural, _)| *plural == last);
    let whole = whole.map(|(_, singular)| format!("{before}{singular}"));
    let endings = ENDINGS.iter().filter_map(|(plural, singular)| {
        let stem = last.strip_suffix(plural)?;
        Some(format!("{before}{stem}{singular}"))
    });
    let mut found: Vec<String> = vec![];
    for singular in whole.chain(endings) {
        if !found.contains(&singular) {
            found.push(singular);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_singular_comes_first() {
        for (plural, singular) in [
            ("stars", "star"),
            ("boxes", "box"),
            ("benches", "bench"),
            ("glasses", "glass"),
            ("puppies", "puppy"),
            ("pies", "pie"),
            ("buses", "bus"),
            ("houses", "house"),
            ("horses", "horse"),
            ("potatoes", "potato"),
            ("horseshoes", "horseshoe"),
            ("knives", "knife"),
            ("wolves", "wolf"),
            ("gloves", "glove"),
            ("olives", "olive"),
            ("people", "person"),
            ("women", "woman"),
            ("mice", "mouse"),
            ("wine glasses", "wine glass"),
        ] {
            assert_eq!(singulars(plural)[0], singular);
        }
        assert!(singulars("glass").is_empty());
        assert!(singulars("sheep").is_empty());
        assert!(singulars("").is_empty());
    }
}
