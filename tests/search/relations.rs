//! Relations in prompts, and the layouts that follow from them.

use proptest::prelude::*;
use ttsvar::{
    eval::{
        geneval::names::OBJECTS,
        scenes::{
            prompt::ScenePrompt,
            prompt_set::{Split, prompts},
        },
    },
    text::{
        layout::{layout_of_relations, open_layouts},
        relation::{Link, Phrases},
    },
};

/// Nouns and relations of T2I-CompBench's spatial prompts.
const NOUNS: &str = "airplane backpack bag balloon bee bicycle bird book bowl boy butterfly candle \
    car cat chair chicken clock computer couch cow cup desk dog fish frog giraffe girl horse key \
    lamp man microwave mouse painting person phone pig plate rabbit refrigerator sheep sofa \
    suitcase table television train turtle vase wallet woman";
const COMPBENCH: [(&str, Link); 7] = [
    ("on the left of", Link::LeftOf),
    ("on the right of", Link::RightOf),
    ("on the top of", Link::Above),
    ("on the bottom of", Link::Below),
    ("next to", Link::Beside),
    ("near", Link::Beside),
    ("on side of", Link::Beside),
];
const GENEVAL: [(&str, Link); 4] = [
    ("left of", Link::LeftOf),
    ("right of", Link::RightOf),
    ("above", Link::Above),
    ("below", Link::Below),
];

fn parsed(prompt: &str) -> Option<(Vec<&str>, Vec<Link>)> {
    let phrases = Phrases::parse(prompt)?;
    let texts = phrases.concepts.iter().map(|concept| concept.text);
    Some((texts.collect(), phrases.links))
}

#[test]
fn every_position_prompt_of_geneval_is_understood() {
    let article = |name: &str| match name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        true => format!("an {name}"),
        false => format!("a {name}"),
    };
    for first in OBJECTS.map(article) {
        for second in OBJECTS.map(article) {
            for (words, link) in GENEVAL {
                let prompt = format!("a photo of {first} {words} {second}");
                let expected = (vec![first.as_str(), second.as_str()], vec![link]);
                assert_eq!(parsed(&prompt), Some(expected), "{prompt}");
                assert!(layout_of_relations(&prompt).is_some(), "{prompt}");
            }
        }
    }
}

#[test]
fn every_spatial_prompt_of_compbench_is_understood() {
    let nouns: Vec<String> = NOUNS
        .split_whitespace()
        .map(|noun| format!("a {noun}"))
        .collect();
    for first in &nouns {
        for second in &nouns {
            for (words, link) in COMPBENCH {
                let prompt = format!("{first} {words} {second}");
                let expected = (vec![first.as_str(), second.as_str()], vec![link]);
                assert_eq!(parsed(&prompt), Some(expected), "{prompt}");
                let steered = layout_of_relations(&prompt).is_some();
                assert_eq!(steered, link != Link::Beside, "{prompt}");
                assert_eq!(open_layouts(&prompt).is_empty(), steered, "{prompt}");
            }
        }
    }
}

#[test]
fn only_position_prompts_of_scenes_are_steered() {
    for split in [Split::Test, Split::Tuning] {
        for prompt in prompts(split, 1200, 3) {
            let text = prompt.text();
            let relation = matches!(prompt, ScenePrompt::Related(..));
            assert_eq!(layout_of_relations(&text).is_some(), relation, "{text}");
        }
    }
}

#[test]
fn people_word_relations_in_many_ways() {
    for (prompt, first, second, link) in [
        (
            "A red circle to the left of the blue square.",
            "A red circle",
            "the blue square",
            Link::LeftOf,
        ),
        (
            "three green stars under one ring",
            "three green stars",
            "one ring",
            Link::Below,
        ),
        (
            "The brown hat was on top of the old shelf.",
            "The brown hat",
            "the old shelf",
            Link::Above,
        ),
        (
            "a cat is sitting beneath a table, oil on canvas",
            "a cat",
            "a table",
            Link::Below,
        ),
        (
            "an oil painting of a cat above a dog",
            "a cat",
            "a dog",
            Link::Above,
        ),
        (
            "there is a dog on the right side of a cat",
            "a dog",
            "a cat",
            Link::RightOf,
        ),
        (
            "red circles left of blue squares",
            "red circles",
            "blue squares",
            Link::LeftOf,
        ),
        ("2 cats  above\n3 dogs", "2 cats", "3 dogs", Link::Above),
        (
            "a picture of a red ring over an orange cross",
            "a red ring",
            "an orange cross",
            Link::Above,
        ),
    ] {
        assert_eq!(
            parsed(prompt),
            Some((vec![first, second], vec![link])),
            "{prompt}"
        );
    }
    let chain = parsed("a star left of a ring left of a cross").unwrap();
    assert_eq!(chain.1, [Link::LeftOf, Link::LeftOf]);
}

#[test]
fn uncertain_prompts_are_left_alone() {
    for prompt in [
        "",
        "left of",
        "a cat left of",
        "above a dog",
        "a red circle",
        "a red circle and a blue square",
        "a cat, left of a dog",
        "a cat left of a dog, and a bird",
        "a cat to the left of a dog in a garden",
        "a cat that is left of a dog",
        "a dog running above a cloud",
        "three bees buzzed over two flowers",
        "a dog not left of a cat",
        "walking above clouds",
        "the view from above a city",
        "what is left of a cake",
        "he turned right of the old church",
        "a hand above the head of a man",
        "a cat (left of a dog)",
        "a cat left of a dog right of a bird",
        "a cat left of a dog and a bird",
        "a cat near a dog",
        "a man under pressure",
        "a photo of a cat with a dog on the left of it",
        "a cat on the left and a dog on the right",
        "a person in front of a car",
        "\"a cat\" above a dog",
    ] {
        assert_eq!(layout_of_relations(prompt), None, "{prompt}");
    }
}

fn noun_phrase() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec!["red", "small", "wooden", "fluffy", "blue", "old"]);
    let nouns: Vec<&str> = NOUNS.split_whitespace().collect();
    let determiner = prop::sample::select(vec!["a", "an", "the", "one", "The", "A"]);
    (
        determiner,
        prop::collection::vec(words, 0..3),
        prop::sample::select(nouns),
    )
        .prop_map(|(determiner, words, noun)| {
            let mut all = vec![determiner];
            all.extend(words);
            all.push(noun);
            all.join(" ")
        })
}

fn relation() -> impl Strategy<Value = (&'static str, Link)> {
    prop::sample::select([&COMPBENCH[..], &GENEVAL[..]].concat())
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in any::<String>(), words in "[a-z ,.]{0,60}") {
        for text in [text.as_str(), words.as_str(), &format!("a cat left of {text}")] {
            if let Some(phrases) = Phrases::parse(text) {
                prop_assert_eq!(phrases.concepts.len(), phrases.links.len() + 1);
                prop_assert!(phrases.concepts.iter().all(|concept| text.contains(concept.text)));
            }
            for layout in layout_of_relations(text).into_iter().chain(open_layouts(text)) {
                prop_assert!(layout.iter().all(|region| region.is_possible()));
            }
        }
    }

    #[test]
    fn a_chain_of_relations_is_read_back(
        first in noun_phrase(),
        rest in prop::collection::vec((relation(), noun_phrase()), 1..5),
        beginning in prop::sample::select(vec!["", "a photo of ", "An image of ", "there is "]),
    ) {
        let mut prompt = format!("{beginning}{first}");
        let mut texts = vec![first];
        let mut links = vec![];
        for ((words, link), concept) in rest {
            prompt += &format!(" {words} {concept}");
            links.push(link);
            texts.push(concept);
        }
        let found = parsed(&prompt);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        prop_assert_eq!(found, Some((texts, links)));
    }

    #[test]
    fn regions_are_where_the_relation_says(
        first in noun_phrase(),
        second in noun_phrase(),
        (words, link) in relation(),
    ) {
        let layout = layout_of_relations(&format!("{first} {words} {second}"));
        let Some((columns, rows)) = link.direction() else {
            prop_assert_eq!(layout, None);
            return Ok(());
        };
        let layout = layout.unwrap();
        let centre = |bounds: [f64; 4]| [bounds[0] + bounds[2], bounds[1] + bounds[3]];
        let [from, to] = [centre(layout[0].bounds), centre(layout[1].bounds)];
        prop_assert_eq!([to[0] - from[0], to[1] - from[1]], [f64::from(columns), f64::from(rows)]);
    }

    #[test]
    fn an_unknown_word_between_the_parts_makes_a_prompt_uncertain(
        first in noun_phrase(),
        second in noun_phrase(),
        word in prop::sample::select(vec!["without", "of", "which", "in", "on", "behind", "not"]),
    ) {
        for prompt in [
            format!("{first} {word} above {second}"),
            format!("{first} above {second} {word} it"),
            format!("{word} {first} above {second}"),
        ] {
            prop_assert_eq!(layout_of_relations(&prompt), None, "{}", prompt);
        }
    }
}
