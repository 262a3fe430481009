//! Takes a prompt apart into what can be checked in its image: things, with numbers and colours, and
//! the positions that they have relative to each other.

use super::{
    plural::singulars,
    relation::{COLOURS, Concept, Link, Phrases, determiner},
};

/// A prompt in parts, in the order of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atoms<'p> {
    /// The things that it names.
    pub things: Vec<Thing<'p>>,
    /// Positions, each as a thing, its relation, and the thing to which it has that relation.
    pub relations: Vec<(usize, Link, usize)>,
}

/// A thing that a prompt names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thing<'p> {
    /// Its noun phrase: `two red circles`.
    pub text: &'p str,
    /// Their number, if the prompt says so.
    pub count: Option<usize>,
    /// The colour, if the prompt says so.
    pub colour: Option<&'p str>,
    /// The phrase without number and colour: `circles`.
    pub noun: &'p str,
}

impl<'p> Atoms<'p> {
    /// Takes a prompt apart; `None` if it has anything that [`Phrases`] does not know.
    pub fn parse(prompt: &'p str) -> Option<Self> {
        let phrases = Phrases::parse(prompt)?;
        let mut relations = vec![];
        for (i, link) in phrases.links.iter().enumerate() {
            if *link != Link::And {
                relations.push((i, *link, i + 1));
            }
        }
        Some(Self {
            things: phrases.concepts.iter().map(Thing::new).collect(),
            relations,
        })
    }
}

impl<'p> Thing<'p> {
    fn new(concept: &Concept<'p>) -> Self {
        let text = concept.text;
        let mut noun = text;
        if let Some((first, rest)) = split_word(noun)
            && determiner(&first.to_lowercase()).is_some()
        {
            noun = rest;
        }
        let mut colour = None;
        if let Some((first, rest)) = split_word(noun)
            && COLOURS.contains(&first.to_lowercase().as_str())
        {
            colour = Some(first);
            noun = rest;
        }
        Self {
            text,
            count: concept.count,
            colour,
            noun,
        }
    }

    /// The name among `names` with which the noun ends, in singular or plural; the longest of
    /// several: of "a hot dog" `hot dog`, not `dog`.
    pub fn find<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<usize> {
        let forms = forms(&self.noun.to_lowercase());
        let fits = |name: &str| {
            forms.iter().any(|form| {
                let before = form.strip_suffix(name);
                before.is_some_and(|before| before.is_empty() || before.ends_with(' '))
            })
        };
        let found = names.enumerate().filter(|(_, name)| fits(name));
        let longest = found.max_by_key(|(_, name)| name.len());
        longest.map(|(number, _)| number)
    }
}

/// The first word of a text and the rest; `None` if there are not two words.
fn split_word(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    (!rest.is_empty()).then_some((first, rest))
}

/// A noun phrase as it stands, and what it may be the plural of.
fn forms(noun: &str) -> Vec<String> {
    let words: Vec<&str> = noun.split_whitespace().collect();
    let noun = words.join(" ");
    let singulars = singulars(&noun);
    std::iter::once(noun).chain(singulars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_come_apart_into_things_and_positions() {
        let atoms = Atoms::parse("a photo of two red circles left of a Blue  square").unwrap();
        let circles = Thing {
            text: "two red circles",
            count: Some(2),
            colour: Some("red"),
            noun: "circles",
        };
        let square = Thing {
            text: "a Blue  square",
            count: Some(1),
            colour: Some("Blue"),
            noun: "square",
        };
        assert_eq!(atoms.things, [circles, square]);
        assert_eq!(atoms.relations, [(0, Link::LeftOf, 1)]);
        let both = Atoms::parse("a photo of a cat and a dog").unwrap();
        assert_eq!((both.things.len(), both.relations.len()), (2, 0));
        assert_eq!(Atoms::parse("the quick fox jumps over it"), None);
    }

    #[test]
    fn colours_that_are_the_noun_stay() {
        let atoms = Atoms::parse("a photo of an orange").unwrap();
        assert_eq!(atoms.things[0].noun, "orange");
        assert_eq!(atoms.things[0].colour, None);
    }

    #[test]
    fn nouns_are_found_in_singular_and_plural() {
        let names = [
            "dog",
            "hot dog",
            "knife",
            "bus",
            "person",
            "sheep",
            "wine glass",
        ];
        let find = |text: &str| {
            let prompt = format!("a photo of {text}");
            let atoms = Atoms::parse(&prompt).unwrap();
            atoms.things[0].find(names.into_iter()).map(|i| names[i])
        };
        for (text, name) in [
            ("a dog", "dog"),
            ("two hot dogs", "hot dog"),
            ("three knives", "knife"),
            ("two buses", "bus"),
            ("four people", "person"),
            ("two sheep", "sheep"),
            ("two Wine  Glasses", "wine glass"),
            ("a small brown dog", "dog"),
        ] {
            assert_eq!(find(text), Some(name), "{text}");
        }
        assert_eq!(find("a bulldog"), None);
        assert_eq!(find("a cat"), None);
    }
}
