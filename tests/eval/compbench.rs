//! T2I-CompBench as a suite: the inputs of each network, the scores, the batch sizes.

use std::sync::{Arc, Mutex};

use ttsvar::{
    Result,
    detectors::{Answerer, Comparer, Detector, Object},
    eval::{
        Suite, Verdict,
        external::{self, ExternalImage},
        geneval::names::object,
        t2i_compbench::{
            Category, CompBench, EvaluatorNetworks, Parts, Prompt, grammar::noun_phrases,
        },
    },
    search::Image,
};

/// Answers, objects and likeness are read off the first pixel; remembers how many pictures it was
/// shown at once, by whom.
#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Vec<(&'static str, usize)>>>);

impl Stub {
    fn seen(&self, who: &'static str, images: &[Image]) {
        self.0.lock().unwrap().push((who, images.len()));
    }
}

fn share(image: &Image) -> f32 {
    f32::from(image.pixels()[0]) / 256.0
}

impl Answerer for Stub {
    fn yes(&self, images: &[Image], questions: &[Vec<String>]) -> Result<Vec<Vec<f32>>> {
        self.seen("blip", images);
        assert_eq!(images.len(), questions.len());
        let answers = images.iter().zip(questions);
        Ok(answers
            .map(|(image, questions)| vec![share(image); questions.len()])
            .collect())
    }
}

/// A dog on the left, a cat on the right.
impl Detector for Stub {
    fn detect(&self, images: &[Image]) -> Result<Vec<Vec<Object>>> {
        self.seen("detector", images);
        let thing = |name: &str, left: f32, score: f32| Object {
            class: object(name).unwrap(),
            score,
            bounds: [left, 0.0, left + 1.0, 1.0],
            mask: None,
        };
        Ok(images
            .iter()
            .map(|image| vec![thing("dog", 0.0, 0.75), thing("cat", 3.0, share(image))])
            .collect())
    }
}

impl Comparer for Stub {
    fn cosines(&self, prompt: &str, images: &[Image]) -> Result<Vec<f32>> {
        self.seen("clip", images);
        Ok(images
            .iter()
            .map(|image| share(image) * prompt.split(' ').count() as f32 / 10.0)
            .collect())
    }
}

const NONE: Parts = Parts {
    attributes: false,
    relation: false,
    likeness: false,
    numbers: false,
};

fn prompt(category: Category, number: usize, text: &str, parts: Parts) -> Prompt {
    Prompt {
        category,
        number,
        text: text.to_owned(),
        parts,
    }
}

fn prompts() -> Vec<Prompt> {
    use Category::{Color, Complex, NonSpatial, Numeracy, Spatial};
    let all = Parts {
        attributes: true,
        relation: true,
        likeness: true,
        numbers: false,
    };
    vec![
        prompt(
            Color,
            0,
            "a red cat and a blue dog",
            Parts {
                attributes: true,
                ..NONE
            },
        ),
        prompt(
            Spatial,
            0,
            "a dog on the left of a cat",
            Parts {
                relation: true,
                ..NONE
            },
        ),
        prompt(
            Spatial,
            1,
            "a dog on the left of a frog",
            Parts {
                relation: true,
                ..NONE
            },
        ),
        prompt(
            NonSpatial,
            0,
            "A dog is barking",
            Parts {
                likeness: true,
                ..NONE
            },
        ),
        prompt(
            Numeracy,
            0,
            "two dogs and one cat",
            Parts {
                numbers: true,
                ..NONE
            },
        ),
        prompt(
            Numeracy,
            1,
            "three drums",
            Parts {
                numbers: true,
                ..NONE
            },
        ),
        prompt(
            Complex,
            0,
            "The red dog was on the left of the white cat.",
            all,
        ),
        prompt(
            Complex,
            1,
            "The red dog was near it.",
            Parts {
                likeness: false,
                ..all
            },
        ),
    ]
}

fn suite(stub: &Stub, every: bool) -> CompBench {
    let networks = EvaluatorNetworks {
        answerer: Some(Box::new(stub.clone())),
        detector: Some(Box::new(stub.clone())),
        likeness: Some(Box::new(stub.clone())),
    };
    CompBench::new(prompts(), networks, every)
}

fn grey(value: u8) -> Image {
    Image::new(4, 4, vec![value; 48])
}

/// The verdict on a picture for the prompt with these words.
fn verdict(suite: &CompBench, words: &str, value: u8) -> Verdict {
    let case = suite
        .cases()
        .iter()
        .position(|case| case.prompt == words)
        .unwrap();
    suite.evaluate(case, &[grey(value)]).unwrap().remove(0)
}

#[test]
fn scores_are_made_of_answers_boxes_and_cosines() {
    let suite = suite(&Stub::default(), false);
    // 0.78125 each, which is 0.7812, half to even
    let colour = verdict(&suite, "a red cat and a blue dog", 200);
    assert_eq!(
        (colour.score, colour.reason.as_str()),
        (0.6103, "a red cat? 0.7812, a blue dog? 0.7812")
    );
    assert_eq!(colour.details.unwrap()["attributes"], "0.6103");
    let spatial = verdict(&suite, "a dog on the left of a cat", 192);
    assert_eq!(
        (spatial.score, spatial.reason.as_str()),
        (0.875, "dog (0.75), cat (0.75); on the left of: 1.00")
    );
    assert_eq!(spatial.details.unwrap()["objects"]["cat"][0][4], 0.75);
    assert_eq!(
        verdict(&suite, "a dog on the left of a cat", 100).score,
        0.0,
        "a cat that is too uncertain"
    );
    assert_eq!(
        verdict(&suite, "A dog is barking", 128).score,
        f64::from(0.2f32)
    );
    let numbers = verdict(&suite, "two dogs and one cat", 192);
    assert_eq!(
        (numbers.score, numbers.reason.as_str()),
        (0.75, "dog: 1 of 2, cat: 1 of 1")
    );
    let complex = verdict(&suite, "The red dog was on the left of the white cat.", 192);
    // Ten words without two adjectives, the full stop apart
    let likeness = f64::from(0.75f32 * 10.0 / 10.0);
    assert_eq!(
        complex.score,
        (0.5625 + 0.875 + likeness) / 3.0,
        "{}",
        complex.reason
    );
    assert_eq!(
        verdict(&suite, "The red dog was near it.", 128).score,
        0.125,
        "half of two answers, no two things"
    );
}

#[test]
fn prompts_beyond_the_detector_are_left_out_and_counted() {
    let few = suite(&Stub::default(), false);
    let texts = |suite: &CompBench| {
        suite
            .cases()
            .iter()
            .map(|case| case.prompt.clone())
            .collect::<Vec<_>>()
    };
    assert!(
        texts(&few)
            .iter()
            .all(|text| !text.contains("frog") && !text.contains("drum"))
    );
    let said = few.differences().join("\n");
    assert!(
        said.contains("Mask2Former") && said.contains("spaCy"),
        "{said}"
    );
    assert!(
        said.contains("spatial: 1 of 2 prompts") && said.contains("numeracy: 1 of 2 prompts"),
        "{said}"
    );
    let every = suite(&Stub::default(), true);
    assert_eq!((texts(&every).len(), texts(&few).len()), (8, 6));
    assert_eq!(verdict(&every, "three drums", 0).score, 0.0);
    assert!(!every.differences().join("\n").contains("skipped"));
    assert_eq!(
        every.tasks(),
        ["color", "spatial", "non_spatial", "numeracy", "complex"]
    );
}

#[test]
fn a_network_that_is_missing_is_named() {
    let suite = CompBench::new(prompts(), EvaluatorNetworks::default(), false);
    let error = suite.evaluate(0, &[grey(0)]).unwrap_err().to_string();
    assert_eq!(
        error,
        "a prompt needs a network that answers questions, but none was given"
    );
}

#[test]
fn a_hundred_images_are_evaluated_in_batches_by_the_networks_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::default();
    let suite = suite(&stub, false);
    let cases = suite.cases().len();
    let shown: Vec<ExternalImage> = (0..100)
        .map(|i| ExternalImage {
            case: i % cases,
            sample: i / cases,
            path: folder.path().join(format!("{i}.png")),
        })
        .collect();
    for (i, one) in shown.iter().enumerate() {
        ttsvar::image::save(&grey(i as u8 + 100), &one.path).unwrap();
    }
    let contender = external::contender("made").unwrap();
    let mut records = vec![];
    let keep = |record| {
        records.push(record);
        Ok(())
    };
    external::evaluate(&suite, &contender, &shown, &[], keep, |path, _| {
        panic!("{} is lost", path.display())
    })
    .unwrap();
    assert_eq!(records.len(), 100);
    let calls = std::mem::take(&mut *stub.0.lock().unwrap());
    let of = |who: &str| {
        calls
            .iter()
            .filter(|call| call.0 == who)
            .map(|call| call.1)
            .collect::<Vec<_>>()
    };
    let parts = |of: fn(Parts) -> bool| {
        shown
            .iter()
            .filter(|one| of(suite.prompts().nth(one.case).unwrap().parts))
            .count()
    };
    for (who, expected) in [
        ("blip", parts(|parts| parts.attributes)),
        ("detector", parts(Parts::boxes)),
        ("clip", parts(|parts| parts.likeness)),
    ] {
        assert_eq!(
            of(who).iter().sum::<usize>(),
            expected,
            "{who} sees its images once"
        );
        assert!(of(who).iter().all(|batch| *batch <= 8), "{who}");
    }
    assert!(of("blip").len() <= 13, "eight images at a time");
    for record in &records {
        let image = ttsvar::image::open(&shown[record.sample * cases + record.case].path).unwrap();
        assert_eq!(
            suite.evaluate(record.case, &[image]).unwrap()[0].score,
            record.correct,
            "the batch changes nothing"
        );
    }
}

/// Prompts after the patterns of `color_val.txt`, `shape_val.txt` and `texture_val.txt` with their
/// noun phrases.
const PHRASES: &str = "\
a green bench and a blue bowl: a green bench, a blue bowl
a bathroom with green tile and a red shower curtain: a bathroom, green tile, a red shower curtain
a black cat sitting on a white couch: a black cat, a white couch
The red hat and the blue shirt.: The red hat, the blue shirt
a yellow school bus and a blue bicycle: a yellow school bus, a blue bicycle
an orange cat and a gray mouse: an orange cat, a gray mouse
a red rose and white daisies: a red rose, white daisies
a dark green plant and a light blue vase: a dark green plant, a light blue vase
a black and white dog and a brown cow: a black and white dog, a brown cow
a green leaf and a yellow butterfly: a green leaf, a yellow butterfly
a blue dragonfly and a green lily pad: a blue dragonfly, a green lily pad
an orange and a green pear: an orange, a green pear
a crimson leaf and an emerald stone: a crimson leaf, an emerald stone
a brown building and a gray roof: a brown building, a gray roof
a white plate and a silver fork: a white plate, a silver fork
a black drum and a white ring: a black drum, a white ring
an oval sink and a rectangular mirror: an oval sink, a rectangular mirror
a big elephant and a small mouse: a big elephant, a small mouse
a cubic block and a cylindrical bottle: a cubic block, a cylindrical bottle
a teardrop earring and a round ring: a teardrop earring, a round ring
a pentagonal prism and a spherical marble: a pentagonal prism, a spherical marble
a big lion and a small lion cub: a big lion, a small lion cub
an oval picture frame and a square tile: an oval picture frame, a square tile
a pyramidal tent and a spherical balloon: a pyramidal tent, a spherical balloon
a conical hat and a diamond necklace: a conical hat, a diamond necklace
metallic car and leather shoes: metallic car, leather shoes
a wooden floor and a fluffy rug: a wooden floor, a fluffy rug
fabric curtains and a glass vase: fabric curtains, a glass vase
a leather jacket and wooden toys: a leather jacket, wooden toys
fluffy clouds and a metallic airplane: fluffy clouds, a metallic airplane
a rubber sole shoe and a leather belt: a rubber sole shoe, a leather belt
a glass of water and a wooden stool: a glass, water, a wooden stool
a fabric-covered chair and a wood-paneled wall: a fabric-covered chair, a wood-paneled wall
The leather sofa is beside the glass coffee table.: The leather sofa, the glass coffee table
The rubber duck floats in the metallic bathtub.: The rubber duck, the metallic bathtub
The soft fur contrasts with the rough bark.: The soft fur, the rough bark
The sun rose over the green hill.: The sun, the green hill";

#[test]
fn phrases_are_those_of_the_patterns() {
    for line in PHRASES.lines() {
        let (prompt, expected) = line.split_once(": ").unwrap();
        assert_eq!(noun_phrases(prompt).join(", "), expected, "{prompt}");
    }
}
