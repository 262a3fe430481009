//! Finds out where a prompt wants its concepts: `a photo of a red circle left of a blue square`.
//!
//! The grammar is small on purpose. A prompt is a beginning such as `a photo of`, noun phrases with
//! link words between them, and perhaps a style after a comma. A prompt with anything else in it is
//! left alone.

use std::ops::Range;

/// A prompt that consists of concepts and the words between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrases<'p> {
    /// The beginning, such as `a photo of`; empty if there is none.
    pub beginning: &'p str,
    /// The noun phrases, in their order.
    pub concepts: Vec<Concept<'p>>,
    /// What each concept is to the next one.
    pub links: Vec<Link>,
}

/// A noun phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concept<'p> {
    /// Its text in the prompt: `a red circle`.
    pub text: &'p str,
    /// The number of things that it names, if it says so.
    pub count: Option<usize>,
}

/// The words between two concepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The first is left of the second.
    LeftOf,
    /// The first is right of the second.
    RightOf,
    /// The first is above the second.
    Above,
    /// The first is below the second.
    Below,
    /// The first is beside the second, on either side.
    Beside,
    /// Both are there.
    And,
}

impl Link {
    /// Columns and rows from the first concept to the second; `None` if the words leave it open.
    pub fn direction(self) -> Option<(i32, i32)> {
        match self {
            Self::LeftOf => Some((1, 0)),
            Self::RightOf => Some((-1, 0)),
            Self::Above => Some((0, 1)),
            Self::Below => Some((0, -1)),
            Self::Beside | Self::And => None,
        }
    }
}

/// The words of links. Of two that fit at a place, the longer one counts.
const LINKS: [(&str, Link); 39] = [
    ("left of", Link::LeftOf),
    ("to left of", Link::LeftOf),
    ("to the left of", Link::LeftOf),
    ("to the left side of", Link::LeftOf),
    ("on left of", Link::LeftOf),
    ("on the left of", Link::LeftOf),
    ("on the left side of", Link::LeftOf),
    ("at the left of", Link::LeftOf),
    ("right of", Link::RightOf),
    ("to right of", Link::RightOf),
    ("to the right of", Link::RightOf),
    ("to the right side of", Link::RightOf),
    ("on right of", Link::RightOf),
    ("on the right of", Link::RightOf),
    ("on the right side of", Link::RightOf),
    ("at the right of", Link::RightOf),
    ("above", Link::Above),
    ("over", Link::Above),
    ("atop", Link::Above),
    ("on top of", Link::Above),
    ("on the top of", Link::Above),
    ("below", Link::Below),
    ("beneath", Link::Below),
    ("under", Link::Below),
    ("underneath", Link::Below),
    ("on bottom of", Link::Below),
    ("on the bottom of", Link::Below),
    ("directly above", Link::Above),
    ("directly below", Link::Below),
    ("directly under", Link::Below),
    ("beside", Link::Beside),
    ("near", Link::Beside),
    ("next to", Link::Beside),
    ("on side of", Link::Beside),
    ("on the side of", Link::Beside),
    ("side by side with", Link::Beside),
    ("by the side of", Link::Beside),
    ("and", Link::And),
    ("and also", Link::And),
];

/// What an image may be called in the beginning of a prompt.
const MEDIA: [&str; 15] = [
    "photo",
    "photograph",
    "picture",
    "image",
    "painting",
    "drawing",
    "sketch",
    "illustration",
    "render",
    "rendering",
    "watercolor",
    "watercolour",
    "cartoon",
    "scene",
    "view",
];

/// Verbs that may stand between a concept and a relation: `a cat is sitting on top of a car`.
const VERBS: [&str; 20] = [
    "is",
    "are",
    "was",
    "were",
    "sits",
    "sitting",
    "stands",
    "standing",
    "stood",
    "lies",
    "lying",
    "placed",
    "located",
    "positioned",
    "hanging",
    "hangs",
    "floating",
    "floats",
    "resting",
    "rests",
];

/// Words with which a noun phrase begins, and the numbers among them.
const DETERMINERS: [(&str, Option<usize>); 15] = [
    ("a", Some(1)),
    ("an", Some(1)),
    ("one", Some(1)),
    ("two", Some(2)),
    ("three", Some(3)),
    ("four", Some(4)),
    ("five", Some(5)),
    ("six", Some(6)),
    ("seven", Some(7)),
    ("eight", Some(8)),
    ("nine", Some(9)),
    ("ten", Some(10)),
    ("the", None),
    ("some", None),
    ("several", None),
];

/// Colours, with which a noun phrase may begin instead.
pub(super) const COLOURS: [&str; 16] = [
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
    "gray", "grey", "golden", "silver", "beige", "violet",
];

/// Words that are in no simple noun phrase. They make a prompt uncertain.
#[rustfmt::skip]
const UNCERTAIN: [&str; 74] = [
    "about", "across", "after", "against", "along", "among", "around", "as", "at", "away", "be", "been", "before",
    "behind", "being", "between", "beyond", "bottom", "but", "by", "can", "center", "centre", "despite", "do", "does",
    "down", "except", "far", "for", "from", "front", "has", "have", "he", "her", "his", "if", "in", "inside", "into",
    "it", "left", "like", "middle", "my", "neither", "no", "nor", "not", "of", "off", "on", "or", "out", "outside",
    "right", "she", "side", "than", "that", "their", "they", "through", "to", "top", "towards", "up", "upon", "which",
    "while", "who", "with", "without",
];

/// Nouns that end like a verb form.
#[rustfmt::skip]
const NOUNS_LIKE_VERBS: [&str; 28] = [
    "awning", "bed", "building", "ceiling", "clothing", "drawing", "duckling", "dumpling", "earring", "king",
    "lightning", "moped", "painting", "pudding", "railing", "reed", "ring", "seed", "shed", "sled", "sling", "spring",
    "steed", "string", "swing", "thing", "weed", "wing",
];

/// Words of a noun phrase, at most.
const MOST_WORDS: usize = 7;

/// Words before the noun in a beginning, at most: `a detailed oil painting of`.
const MOST_BEFORE_MEDIUM: usize = 4;

impl<'p> Phrases<'p> {
    /// Splits a prompt into concepts and links; `None` if it has anything else in it.
    pub fn parse(prompt: &'p str) -> Option<Self> {
        let words = Words::split(prompt)?;
        let first = words.beginning();
        let mut concepts = vec![];
        let mut links = vec![];
        let mut from = first;
        let mut at = first;
        while at < words.count() {
            match words.link(at) {
                Some((length, link)) => {
                    concepts.push(words.concept(from..at, link)?);
                    links.push(link);
                    at += length;
                    from = at;
                }
                None => at += 1,
            }
        }
        concepts.push(words.concept(from..at, Link::And)?);
        Some(Self {
            beginning: words.text(0..first),
            concepts,
            links,
        })
    }
}

/// The words of a prompt, without the style after a comma.
struct Words<'p> {
    prompt: &'p str,
    words: Vec<Word>,
}

struct Word {
    /// In lower case.
    text: String,
    place: Range<usize>,
}

impl<'p> Words<'p> {
    /// Splits a prompt at white space; `None` if it has punctuation that the grammar does not know.
    fn split(prompt: &'p str) -> Option<Self> {
        let trimmed = prompt.trim_end().trim_end_matches(['.', '!']);
        let (main, style) = match trimmed.split_once(',') {
            Some((main, style)) => (main, Some(style)),
            None => (trimmed, None),
        };
        if style.is_some_and(|style| !is_style(style)) {
            return None;
        }
        let words = words(main);
        let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '\'';
        let known = words.iter().all(|word| word.text.chars().all(plain));
        known.then_some(Self { prompt, words })
    }

    fn count(&self) -> usize {
        self.words.len()
    }

    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &word.text)
    }

    /// The text from the first of some words to the last.
    fn text(&self, range: Range<usize>) -> &'p str {
        match self.words.get(range).unwrap_or_default() {
            [] => "",
            [first, .., last] => &self.prompt[first.place.start..last.place.end],
            [only] => &self.prompt[only.place.clone()],
        }
    }

    /// The number of words in the beginning of the prompt.
    fn beginning(&self) -> usize {
        if self.word(0) == "there" && ["is", "are"].contains(&self.word(1)) {
            return 2;
        }
        let within = self.count().min(MOST_BEFORE_MEDIUM + 1);
        for at in 0..within {
            if MEDIA.contains(&self.word(at)) && ["of", "showing"].contains(&self.word(at + 1)) {
                return at + 2;
            }
        }
        0
    }

    /// The longest link that begins with a word, and the number of its words.
    fn link(&self, at: usize) -> Option<(usize, Link)> {
        let mut longest = None;
        for (words, link) in LINKS {
            let length = words.split(' ').count();
            let mut places = (at..).zip(words.split(' '));
            let fits = places.all(|(place, word)| self.word(place) == word);
            if fits && longest.is_none_or(|(known, _)| known < length) {
                longest = Some((length, link));
            }
        }
        longest
    }

    /// The noun phrase that some words are, without a verb before a relation.
    fn concept(&self, mut range: Range<usize>, next: Link) -> Option<Concept<'p>> {
        while next != Link::And && !range.is_empty() && VERBS.contains(&self.word(range.end - 1)) {
            range.end -= 1;
        }
        let words: Vec<&str> = range.clone().map(|at| self.word(at)).collect();
        let count = noun_phrase(&words)?;
        let text = self.text(range);
        Some(Concept { text, count })
    }
}

/// Splits a text at white space.
fn words(text: &str) -> Vec<Word> {
    let start = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    let parts = text.split_whitespace();
    parts
        .map(|part| Word {
            text: part.to_lowercase(),
            place: start(part)..start(part) + part.len(),
        })
        .collect()
}

/// Returns whether the text after a comma names no further things.
fn is_style(text: &str) -> bool {
    let cleaned = text.replace([',', '.'], " ");
    let words = words(&cleaned);
    let names = |word: &Word| determiner(&word.text).is_some();
    let style = Words {
        prompt: &cleaned,
        words,
    };
    let links = (0..style.count()).any(|at| style.link(at).is_some());
    !links && !style.words.iter().any(names)
}

/// The number of things that a noun phrase names; the outer `None` if the words are no simple one.
fn noun_phrase(words: &[&str]) -> Option<Option<usize>> {
    let (first, last) = (words.first()?, words.last()?);
    let known = |word: &&str| !UNCERTAIN.contains(word) && !VERBS.contains(word);
    if words.len() > MOST_WORDS || !words.iter().all(known) {
        return None;
    }
    let verb = |word: &&str| {
        (word.ends_with("ing") || word.ends_with("ed")) && !NOUNS_LIKE_VERBS.contains(word)
    };
    match determiner(first) {
        Some(_) if words.len() == 1 => None,
        Some(_) if words.len() > 2 && verb(last) => None, // a dog running
        Some(count) => Some(count),
        None if words.len() > 3 || verb(last) => None,
        None if COLOURS.contains(first) && words.len() > 1 => Some(None),
        None => is_plural(last).then_some(None),
    }
}

/// The number that a determiner names, if the word is one.
pub(super) fn determiner(word: &str) -> Option<Option<usize>> {
    if let Ok(number) = word.parse::<usize>() {
        return (1..=20).contains(&number).then_some(Some(number));
    }
    let known = DETERMINERS.iter().find(|(known, _)| *known == word);
    known.map(|(_, count)| *count)
}

fn is_plural(word: &str) -> bool {
    word.len() > 3 && word.ends_with('s') && !word.ends_with("ss")
}
