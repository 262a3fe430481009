//! T2I-CompBench: whether things have their colours, shapes, textures, places and numbers (arXiv
//! 2307.06350).
//!
//! BLIP is asked for each noun phrase, a detector finds the things that stand somewhere or are
//! counted, CLIP compares picture and prompt. Nothing here computes with tensors. A picture belongs
//! to its prompt by its number: what its file is called changes no score.

pub mod boxes;
pub mod folder;
pub mod grammar;
mod lexicon;
pub mod numeracy;
pub mod prompts;
pub mod relation;
pub mod results;
pub mod things;

pub use folder::PictureFolder;
pub use prompts::{Category, Parts, Prompt, Prompts};

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use ttsvar_search::Image;

use self::{
    numeracy::{Count, counts},
    relation::{Relation, THRESHOLD},
};
use super::{Case, Suite, Verdict, geneval::names::OBJECTS};
use crate::{
    Error, Result,
    detectors::{Answerer, Comparer, Detector, Object},
};

/// Phrases of a prompt that are asked for (the original's `np_num`).
const MOST_PHRASES: usize = 8;

/// The networks that judge; those that no prompt needs may be missing.
#[derive(Default)]
pub struct Networks {
    /// Says whether noun phrases are in a picture.
    pub answerer: Option<Box<dyn Answerer>>,
    /// Finds things.
    pub detector: Option<Box<dyn Detector>>,
    /// The cosine between picture and prompt.
    pub likeness: Option<Box<dyn Comparer>>,
}

/// The prompts with what judges them.
pub struct CompBench {
    asked: Vec<Asked>,
    cases: Vec<Case>,
    tasks: Vec<&'static str>,
    networks: Networks,
    left_out: BTreeMap<Category, LeftOut>,
}

/// Prompts of a category that are not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LeftOut {
    prompts: usize,
    of: usize,
}

/// A prompt, read.
struct Asked {
    prompt: Prompt,
    questions: Vec<String>,
    relation: Option<Relation>,
    counts: Vec<Count>,
    /// What the picture is compared with as a whole.
    text: String,
}

impl Asked {
    fn new(prompt: Prompt) -> Self {
        let (text, parts, complex) = (
            &prompt.text,
            prompt.parts,
            prompt.category == Category::Complex,
        );
        let phrases = if parts.attributes {
            grammar::noun_phrases(text)
        } else {
            vec![]
        };
        let relation = if complex {
            Relation::of_sentence(text)
        } else {
            Relation::of_pattern(text)
        };
        Self {
            questions: phrases
                .into_iter()
                .take(MOST_PHRASES)
                .map(|phrase| phrase + "?")
                .collect(),
            relation: parts.relation.then_some(relation),
            counts: if parts.numbers { counts(text) } else { vec![] },
            text: if complex {
                grammar::without_adjectives(text)
            } else {
                text.clone()
            },
            prompt,
        }
    }

    /// Whether the detector has a class for everything that is to be found. Of complex prompts it
    /// is a part only.
    fn can_be_found(&self) -> bool {
        let known = |word: &str| things::class(word).is_some();
        match self.prompt.category {
            Category::Spatial => {
                let things = self
                    .relation
                    .as_ref()
                    .and_then(|relation| relation.things.as_ref());
                things.is_some_and(|things| things.iter().all(|thing| known(thing)))
            }
            Category::Numeracy => {
                !self.counts.is_empty() && self.counts.iter().all(|count| known(count.thing))
            }
            _ => true,
        }
    }
}

impl CompBench {
    /// Judges pictures of these prompts. Prompts of the categories `spatial` and `numeracy` that
    /// name things without a class of the detector are left out, unless `every` prompt is wanted:
    /// then such things are never found.
    pub fn new(prompts: Vec<Prompt>, networks: Networks, every: bool) -> Self {
        let (mut asked, mut left_out) = (vec![], BTreeMap::<Category, LeftOut>::new());
        for one in prompts.into_iter().map(Asked::new) {
            let count = left_out.entry(one.prompt.category).or_default();
            count.of += 1;
            if every || one.can_be_found() {
                asked.push(one);
            } else {
                count.prompts += 1;
            }
        }
        left_out.retain(|_, count| count.prompts > 0);
        let case = |one: &Asked| Case {
            task: one.prompt.category.name(),
            prompt: one.prompt.text.clone(),
        };
        let cases: Vec<Case> = asked.iter().map(case).collect();
        let tasks = Category::ALL.map(Category::name).into_iter();
        let tasks = tasks
            .filter(|task| cases.iter().any(|case| case.task == *task))
            .collect();
        Self {
            asked,
            cases,
            tasks,
            networks,
            left_out,
        }
    }

    /// The prompts that are judged, in the order of the cases.
    pub fn prompts(&self) -> impl Iterator<Item = &Prompt> {
        self.asked.iter().map(|one| &one.prompt)
    }

    /// Where scores may differ from the original's, a line each.
    pub fn differences(&self) -> Vec<String> {
        let parts = |of: fn(Parts) -> bool| self.prompts().any(|prompt| of(prompt.parts));
        let mut all = vec![];
        if parts(|parts| parts.attributes) {
            all.push("noun phrases are found by rules, the original's by spaCy".to_owned());
        }
        if parts(Parts::boxes) {
            all.push(
                "things are found by Mask2Former, which knows 80 classes; the original's UniDet knows 700".to_owned(),
            );
        }
        all.extend(self.left_out.iter().map(|(category, LeftOut { prompts, of })| {
            let name = category.name();
            format!("{name}: {prompts} of {of} prompts name things without a class of the detector and are left out")
        }));
        all
    }

    fn likeness(&self, asked: &[&Asked], images: &[Image]) -> Result<Vec<f32>> {
        let comparer = needed(
            self.networks.likeness.as_deref(),
            "compares picture and prompt",
        )?;
        let mut all = Vec::with_capacity(images.len());
        for own in asked.chunk_by(|a, b| a.text == b.text) {
            all.extend(comparer.cosines(&own[0].text, &images[all.len()..all.len() + own.len()])?);
        }
        all_numbers("CLIP", &all)?;
        Ok(all)
    }
}

/// # Errors
/// One of the answers is NaN or infinite.
fn all_numbers(who: &str, answers: &[f32]) -> Result<()> {
    if answers.iter().all(|answer| answer.is_finite()) {
        return Ok(());
    }
    Err(Error::input(format!("{who} found no number for a picture"))
        .with_hint("its weights may be damaged"))
}

fn needed<'n, T: ?Sized>(network: Option<&'n T>, what: &str) -> Result<&'n T> {
    network.ok_or_else(|| {
        Error::input(format!(
            "no network that {what} was given, but a prompt needs one"
        ))
    })
}

/// Work on the pictures of those prompts of which a part is judged; nothing for the others.
fn for_some<T>(
    asked: &[&Asked],
    images: &[Image],
    part: impl Fn(Parts) -> bool,
    work: impl FnOnce(&[&Asked], &[Image]) -> Result<Vec<T>>,
) -> Result<Vec<Option<T>>> {
    let wanted = |one: &Asked| part(one.prompt.parts);
    let own: Vec<&Asked> = asked.iter().copied().filter(|one| wanted(one)).collect();
    if own.is_empty() {
        return Ok(asked.iter().map(|_| None).collect());
    }
    let pictures: Vec<Image> = asked
        .iter()
        .zip(images)
        .filter(|(one, _)| wanted(one))
        .map(|(_, image)| image.clone())
        .collect();
    let mut results = work(&own, &pictures)?.into_iter();
    Ok(asked
        .iter()
        .map(|one| if wanted(one) { results.next() } else { None })
        .collect())
}

/// What the networks say of a picture.
struct Seen {
    answers: Option<Vec<f32>>,
    found: Option<Vec<Object>>,
    likeness: Option<f32>,
}

impl Seen {
    fn verdict(self, asked: &Asked, image: &Image) -> Verdict {
        let (mut scores, mut reasons, mut details) = (vec![], vec![], Map::new());
        let mut add = |name: &str, shown: Value, score: f64, reason: String| {
            scores.push(score);
            reasons.push(reason);
            details.insert(name.to_owned(), shown);
        };
        if let Some(answers) = self.answers {
            let (text, reason) = attributes(&asked.questions, &answers);
            add(
                results::ATTRIBUTES,
                text.clone().into(),
                text.parse().unwrap_or(0.0),
                reason,
            );
        }
        let frame = boxes::frame(image);
        let found = self.found.unwrap_or_default();
        if let Some(relation) = &asked.relation {
            let (score, reason) = relation.judge(&found, frame);
            add(results::RELATION, score.into(), score, reason);
        }
        if asked.prompt.parts.numbers {
            let (score, reason) = numeracy::judge(&asked.counts, &found, frame);
            add(results::NUMBERS, score.into(), score, reason);
        }
        if let Some(likeness) = self.likeness.map(f64::from) {
            add(
                results::LIKENESS,
                likeness.into(),
                likeness,
                format!("cosine {likeness:.4}"),
            );
        }
        if asked.prompt.parts.boxes() {
            details.insert("objects".to_owned(), rows(&found));
        }
        // Of complex prompts the 3-in-1 mean
        let score = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        Verdict {
            score,
            reason: reasons.join("\n"),
            details: Some(details.into()),
        }
    }
}

/// The product of the answers, each rounded to four decimals and the product again, as the original
/// writes and reads them.
fn attributes(questions: &[String], answers: &[f32]) -> (String, String) {
    let rounded: Vec<String> = answers
        .iter()
        .map(|answer| format!("{answer:.4}"))
        .collect();
    let product: f32 = rounded
        .iter()
        .map(|text| text.parse().unwrap_or(0.0))
        .product();
    let reasons: Vec<String> = questions
        .iter()
        .zip(&rounded)
        .map(|(question, answer)| format!("{question} {answer}"))
        .collect();
    (format!("{product:.4}"), reasons.join(", "))
}

/// The objects that are certain enough: class to rows of left, top, right, bottom, score.
fn rows(found: &[Object]) -> Value {
    let mut classes: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for object in found.iter().filter(|object| object.score >= THRESHOLD) {
        let [left, top, right, bottom] = object.bounds;
        classes.entry(object.class).or_default().push(json!([
            left,
            top,
            right,
            bottom,
            object.score
        ]));
    }
    let named = classes
        .into_iter()
        .map(|(class, rows)| (OBJECTS[class].to_owned(), Value::from(rows)));
    Value::Object(named.collect())
}

impl Suite for CompBench {
    fn name(&self) -> &str {
        "t2i-compbench"
    }

    fn tasks(&self) -> &[&'static str] {
        &self.tasks
    }

    fn cases(&self) -> &[Case] {
        &self.cases
    }

    fn judge(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        self.judge_together(&vec![case; images.len()], images)
    }

    fn judge_together(&self, cases: &[usize], images: &[Image]) -> Result<Vec<Verdict>> {
        let asked: Vec<&Asked> = cases.iter().map(|case| &self.asked[*case]).collect();
        let answers = for_some(
            &asked,
            images,
            |parts| parts.attributes,
            |asked, images| {
                let questions: Vec<Vec<String>> =
                    asked.iter().map(|one| one.questions.clone()).collect();
                let answers = needed(self.networks.answerer.as_deref(), "answers questions")?
                    .yes(images, &questions)?;
                all_numbers("BLIP", &answers.concat())?;
                Ok(answers)
            },
        )?;
        let found = for_some(&asked, images, Parts::boxes, |_, images| {
            needed(self.networks.detector.as_deref(), "finds things")?.detect(images)
        })?;
        let likeness = for_some(
            &asked,
            images,
            |parts| parts.likeness,
            |asked, images| self.likeness(asked, images),
        )?;
        let seen = answers.into_iter().zip(found).zip(likeness);
        let seen = seen.map(|((answers, found), likeness)| Seen {
            answers,
            found,
            likeness,
        });
        Ok(asked
            .iter()
            .zip(images)
            .zip(seen)
            .map(|((asked, image), seen)| seen.verdict(asked, image))
            .collect())
    }
}
