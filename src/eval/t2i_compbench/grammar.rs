//! The noun phrases, nouns and adjectives of a prompt, by rules that stand in for spaCy's
//! `en_core_web_sm`.
//!
//! For prompts such as `a green bench and a blue bowl`, the phrases are the same as spaCy's. In
//! free sentences, verbs are recognised by their endings and by a list; where that fails, the
//! phrases differ from spaCy's.

use super::lexicon::{
    ADJECTIVE_ENDINGS, ADJECTIVES, DETERMINERS, LINKS, NOT_ADJECTIVES, NOT_ADVERBS,
    NOT_PARTICIPLES, NOUN_OR_VERB, NOUNS_TOO, PRONOUNS, VERBS, has,
};

/// Phrases that the original ignores: they belong to `on top of` and `on the left of`.
const LEFT_OUT: [&str; 4] = ["top", "the side", "the left", "the right"];

/// The role of a word in its sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Begins a noun phrase.
    Determiner,
    /// Describes the noun after it.
    Adjective,
    /// Names something, or describes the noun after it.
    Noun,
    /// Is a noun phrase by itself.
    Pronoun,
    /// A comma.
    Comma,
    /// Anything else; ends a noun phrase.
    Other,
}

/// A word or punctuation mark with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The text in lower case.
    pub word: String,
    /// Its role.
    pub tag: Tag,
    /// Start and end in the prompt, in bytes.
    pub place: (usize, usize),
}

/// The words and punctuation marks of a prompt.
pub fn tokens(prompt: &str) -> Vec<Token> {
    let mut all: Vec<Token> = vec![];
    let mut in_word = false;
    for (at, c) in prompt.char_indices() {
        // 11:44
        let hour =
            c == ':' && in_word && prompt[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        let part_of_word = c.is_alphanumeric() || "-'’".contains(c) || hour;
        if part_of_word && in_word {
            if let Some(last) = all.last_mut() {
                last.word.extend(c.to_lowercase());
                last.place.1 = at + c.len_utf8();
            }
        } else if !c.is_whitespace() {
            all.push(Token {
                word: c.to_lowercase().collect(),
                tag: Tag::Other,
                place: (at, at + c.len_utf8()),
            });
        }
        in_word = part_of_word;
    }
    tag(&mut all);
    all
}

fn tag(all: &mut [Token]) {
    let listed: Vec<Tag> = all.iter().map(|token| by_list(&token.word)).collect();
    let mut before = Tag::Other;
    for (i, token) in all.iter_mut().enumerate() {
        token.tag = tag_in_context(&token.word, listed[i], before, listed.get(i + 1).copied());
        before = token.tag;
    }
}

/// The role of a word between its neighbours.
fn tag_in_context(word: &str, listed: Tag, before: Tag, behind: Option<Tag>) -> Tag {
    let continues = matches!(behind, Some(Tag::Noun | Tag::Adjective));
    let after_noun = before == Tag::Noun;
    let in_phrase = matches!(before, Tag::Determiner | Tag::Adjective);
    match listed {
        Tag::Noun
            if is_noun_or_verb(word) && after_noun && !matches!(behind, None | Some(Tag::Noun)) =>
        {
            Tag::Other
        }
        Tag::Noun if is_participle(word) && after_noun && !continues => Tag::Other,
        Tag::Noun if is_participle(word) && !after_noun && word.ends_with("ed") => Tag::Adjective,
        // `was resting on`
        Tag::Noun if is_participle(word) && !in_phrase && !continues => Tag::Other,
        Tag::Adjective if has(NOUNS_TOO, word) && !continues && before != Tag::Other => Tag::Noun,
        tag => tag,
    }
}

fn by_list(word: &str) -> Tag {
    let ends = |endings: &str| endings.split(' ').any(|ending| word.ends_with(ending));
    match word {
        "," => Tag::Comma,
        _ if has(DETERMINERS, word) => Tag::Determiner,
        _ if has(PRONOUNS, word) => Tag::Pronoun,
        _ if has(ADJECTIVES, word) => Tag::Adjective,
        _ if has(LINKS, word) || has(VERBS, word) => Tag::Other,
        _ if ends(ADJECTIVE_ENDINGS) && !has(NOT_ADJECTIVES, word) => Tag::Adjective,
        // adverbs; adjectives such as `prickly` are listed
        _ if word.len() > 4 && word.ends_with("ly") && !has(NOT_ADVERBS, word) => Tag::Other,
        _ if word.starts_with(char::is_alphanumeric) => Tag::Noun,
        _ => Tag::Other,
    }
}

/// `float` and `floats`.
fn is_noun_or_verb(word: &str) -> bool {
    has(NOUN_OR_VERB, word)
        || word
            .strip_suffix('s')
            .is_some_and(|one| has(NOUN_OR_VERB, one))
}

/// Returns whether a word looks like `hanging` or `covered`, and not like `ring` or `sled`.
fn is_participle(word: &str) -> bool {
    let stem = word.strip_suffix("ing").or_else(|| word.strip_suffix("ed"));
    let spoken = stem.is_some_and(|stem| stem.contains(['a', 'e', 'i', 'o', 'u', 'y']));
    spoken && !has(NOT_PARTICIPLES, word)
}

/// A noun phrase: the index of its first token and the one after its last.
type Span = (usize, usize);

/// The noun phrases of a sentence.
fn spans(all: &[Token]) -> Vec<Span> {
    let mut spans = vec![];
    let mut at = 0;
    while at < all.len() {
        let end = phrase_end(all, at);
        if end > at {
            spans.push((at, end));
        }
        at = end.max(at + 1);
    }
    spans
}

/// The end of the noun phrase that starts at a token; `start` if none does.
fn phrase_end(all: &[Token], start: usize) -> usize {
    let tag = |at: usize| all.get(at).map_or(Tag::Other, |token| token.tag);
    if tag(start) == Tag::Pronoun {
        return start + 1;
    }
    let mut at = start;
    while tag(at) == Tag::Determiner {
        at += 1;
    }
    let first = at;
    let mut end = start;
    loop {
        match tag(at) {
            Tag::Noun => end = at + 1,
            Tag::Adjective => {}
            // `black and white cat`, `soft, warm glow`: only between adjectives, and before the
            // noun
            Tag::Comma if end == start && at > first && tag(at + 1) == Tag::Adjective => {}
            _ if end == start && at > first && is_and(all, at) && leads_to_noun(all, at + 1) => {}
            _ => break,
        }
        at += 1;
    }
    // `a red orange`: the last word is the noun. But `was suspended` and `stood tall` are not
    // phrases.
    if end == start && at > first && first > start {
        at
    } else {
        end
    }
}

fn is_and(all: &[Token], at: usize) -> bool {
    all.get(at).is_some_and(|token| token.word == "and")
}

/// Returns whether adjectives and then a noun follow.
fn leads_to_noun(all: &[Token], from: usize) -> bool {
    let after = all[from..].iter().find(|token| token.tag != Tag::Adjective);
    all.get(from)
        .is_some_and(|token| token.tag == Tag::Adjective)
        && after.is_some_and(|token| token.tag == Tag::Noun)
}

/// The noun phrases of a prompt, as in the original's questions.
pub fn noun_phrases(prompt: &str) -> Vec<String> {
    let all = tokens(prompt);
    let text = |(from, to): Span| &prompt[all[from].place.0..all[to - 1].place.1];
    spans(&all)
        .into_iter()
        .map(text)
        .filter(|phrase| !LEFT_OUT.contains(phrase))
        .map(str::to_owned)
        .collect()
}

/// The nouns of a prompt with the indices of their tokens: the last word of each phrase, and other
/// nouns inside.
pub fn nouns(prompt: &str) -> Vec<(usize, String)> {
    let all = tokens(prompt);
    let mut nouns = vec![];
    for (from, to) in spans(&all) {
        for (at, token) in all.iter().enumerate().take(to).skip(from) {
            let last = at + 1 == to;
            if token.tag == Tag::Noun || (last && token.tag == Tag::Adjective) {
                nouns.push((at, token.word.clone()));
            }
        }
    }
    nouns
}

/// A prompt without its adjectives, split into tokens as by spaCy.
pub fn without_adjectives(prompt: &str) -> String {
    let all = tokens(prompt);
    let heads: Vec<usize> = spans(&all).into_iter().map(|(_, to)| to - 1).collect();
    let kept = (0..all.len()).filter(|at| all[*at].tag != Tag::Adjective || heads.contains(at));
    let text = |at: usize| {
        prompt[all[at].place.0..all[at].place.1]
            .replace('-', " - ")
            .replace("'s", " 's")
    };
    kept.map(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn phrases(prompt: &str, expected: &[&str]) {
        assert_eq!(noun_phrases(prompt), expected, "{prompt}");
    }

    #[test]
    fn templated_prompts_fall_into_their_phrases() {
        phrases(
            "a lilac teapot and a blue orange",
            &["a lilac teapot", "a blue orange"],
        );
        phrases(
            "an oval basin and a rectangular picture frame.",
            &["an oval basin", "a rectangular picture frame"],
        );
        phrases(
            "a round loaf of bread and a cubic Rubik's cube",
            &["a round loaf", "bread", "a cubic Rubik's cube"],
        );
        phrases(
            "rubber mittens and fluffy blankets",
            &["rubber mittens", "fluffy blankets"],
        );
        phrases(
            "a plastic telephone case and a red stop sign",
            &["a plastic telephone case", "a red stop sign"],
        );
        phrases(
            "tall oak and a diamond ring",
            &["tall oak", "a diamond ring"],
        );
        phrases(
            "a wooden rocking chair and a triangular slice",
            &["a wooden rocking chair", "a triangular slice"],
        );
        phrases(
            "a round traffic light and a cylindrical can of beans",
            &["a round traffic light", "a cylindrical can", "beans"],
        );
    }

    #[test]
    fn relations_are_not_things() {
        phrases(
            "The red kettle was on top of the brown shoe rack.",
            &["The red kettle", "the brown shoe rack"],
        );
        phrases(
            "The fluffy dog is on the left of the soft rug.",
            &["The fluffy dog", "the soft rug"],
        );
        phrases(
            "The round pot was next to the square lid.",
            &["The round pot", "the square lid"],
        );
    }

    #[test]
    fn sentences_are_cut_at_their_verbs() {
        phrases(
            "The metallic ladle and wooden pot mix the soup.",
            &["The metallic ladle", "wooden pot", "the soup"],
        );
        phrases(
            "The striped black and white goat lay near it.",
            &["The striped black and white goat", "it"],
        );
        phrases(
            "The soft, warm glow covered the bed.",
            &["The soft, warm glow", "the bed"],
        );
        phrases(
            "The yellow cone was suspended in mid-air.",
            &["The yellow cone", "mid-air"],
        );
        phrases(
            "The bright daisy stood tall beside a snow covered road.",
            &["The bright daisy", "a snow covered road"],
        );
        phrases("A man hanging a painting", &["A man", "a painting"]);
        phrases("The clock was resting at 11:44.", &["The clock", "11:44"]);
        phrases("", &[]);
        phrases("’ é 火 a", &["é 火"]);
    }

    #[test]
    fn adjectives_go_and_nouns_stay() {
        assert_eq!(
            without_adjectives("The red hat was on the brown shoe rack."),
            "The hat was on the shoe rack ."
        );
        assert_eq!(without_adjectives("a red orange"), "a orange");
        assert_eq!(
            without_adjectives("the chef's well-known pan"),
            "the chef 's well - known pan"
        );
        let words = |prompt: &str| {
            nouns(prompt)
                .into_iter()
                .map(|(_, word)| word)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words("a giraffe on the left of a street lamp"),
            ["giraffe", "left", "street", "lamp"]
        );
        assert_eq!(
            words("a bird on side of an orange"),
            ["bird", "side", "orange"]
        );
    }
}
