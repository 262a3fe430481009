//! T2I-CompBench: evaluates colours, shapes, textures, positions and numbers of things (arXiv
//! 2307.06350).
//!
//! BLIP answers a question per noun phrase, a detector finds the things that have a position or are
//! counted, CLIP compares image and prompt. There are no tensors here. The number of an image
//! determines its prompt; its file name does not affect scores.

pub mod boxes;
pub mod folder;
pub mod grammar;
mod lexicon;
pub mod numeracy;
pub mod prompts;
pub mod relation;
pub mod results;
pub mod things;

pub use folder::CompBenchFolder;
pub use prompts::{Category, Parts, Prompt, Prompts};

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use ttsvar_search::{Image, Warning};

use self::{
    numeracy::{Count, counts},
    relation::{RelationSpec, THRESHOLD},
};
use super::{Case, Suite, Verdict, geneval::names::OBJECTS};
use crate::{
    Error, Result,
    detectors::{Answerer, Comparer, Detector, Object},
};

/// Maximum number of phrases of a prompt (the original's `np_num`).
const MOST_PHRASES: usize = 8;

/// The networks of the evaluator; those that no prompt needs may be missing.
#[derive(Default)]
pub struct EvaluatorNetworks {
    /// Answers whether noun phrases are in an image.
    pub answerer: Option<Box<dyn Answerer>>,
    /// Finds things.
    pub detector: Option<Box<dyn Detector>>,
    /// Computes the cosine between image and prompt.
    pub likeness: Option<Box<dyn Comparer>>,
}

/// The prompts with their evaluator.
pub struct CompBench {
    parsed: Vec<ParsedPrompt>,
    cases: Vec<Case>,
    tasks: Vec<&'static str>,
    networks: EvaluatorNetworks,
    skipped: BTreeMap<Category, SkippedPrompts>,
}

/// Number of prompts of a category that are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SkippedPrompts {
    prompts: usize,
    total: usize,
}

/// A parsed prompt.
struct ParsedPrompt {
    prompt: Prompt,
    questions: Vec<String>,
    relation: Option<RelationSpec>,
    counts: Vec<Count>,
    /// The text that the whole image is compared with.
    text: String,
}

impl ParsedPrompt {
    fn new(prompt: Prompt) -> Self {
        let text = &prompt.text;
        let parts = prompt.parts;
        let complex = prompt.category == Category::Complex;
        let phrases = if parts.attributes {
            grammar::noun_phrases(text)
        } else {
            vec![]
        };
        let relation = if complex {
            RelationSpec::from_sentence(text)
        } else {
            RelationSpec::from_pattern(text)
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

    /// Returns whether the detector has a class for everything in the prompt. In complex prompts,
    /// detection is only one part.
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
    /// Evaluates images of these prompts. Prompts of the categories `spatial` and `numeracy` that
    /// name things without a class of the detector are skipped, unless `every` is set: then such
    /// things are never found.
    pub fn new(prompts: Vec<Prompt>, networks: EvaluatorNetworks, every: bool) -> Self {
        let mut parsed = vec![];
        let mut skipped = BTreeMap::<Category, SkippedPrompts>::new();
        for prompt in prompts.into_iter().map(ParsedPrompt::new) {
            let count = skipped.entry(prompt.prompt.category).or_default();
            count.total += 1;
            if every || prompt.can_be_found() {
                parsed.push(prompt);
            } else {
                count.prompts += 1;
            }
        }
        skipped.retain(|_, count| count.prompts > 0);
        let case = |parsed: &ParsedPrompt| Case {
            task: parsed.prompt.category.name(),
            prompt: parsed.prompt.text.clone(),
        };
        let cases: Vec<Case> = parsed.iter().map(case).collect();
        let tasks = Category::ALL.map(Category::name).into_iter();
        let tasks = tasks
            .filter(|task| cases.iter().any(|case| case.task == *task))
            .collect();
        Self {
            parsed,
            cases,
            tasks,
            networks,
            skipped,
        }
    }

    /// The evaluated prompts, in the order of the cases.
    pub fn prompts(&self) -> impl Iterator<Item = &Prompt> {
        self.parsed.iter().map(|parsed| &parsed.prompt)
    }

    /// Possible differences from the original's scores, one line each.
    pub fn differences(&self) -> Vec<String> {
        let mut all = vec![];
        if self.prompts().any(|prompt| prompt.parts.attributes) {
            all.push("noun phrases are found by rules; the original uses spaCy".to_owned());
        }
        if self.prompts().any(|prompt| prompt.parts.boxes()) {
            all.push(
                "objects are found by Mask2Former with 80 classes; the original's UniDet has 700"
                    .to_owned(),
            );
        }
        for (category, SkippedPrompts { prompts, total }) in &self.skipped {
            all.push(format!(
                "{}: {prompts} of {total} prompts name objects that the detector has no class for \
                 and are skipped",
                category.name()
            ));
        }
        all
    }

    fn answers(&self, parsed: &[&ParsedPrompt], images: &[Image]) -> Result<Vec<Vec<f32>>> {
        let answerer = needed(self.networks.answerer.as_deref(), "answers questions")?;
        let questions: Vec<Vec<String>> = parsed
            .iter()
            .map(|prompt| prompt.questions.clone())
            .collect();
        let answers = answerer.yes(images, &questions)?;
        check_finite("BLIP", &answers.concat())?;
        Ok(answers)
    }

    /// Warnings about prompts that the comparison with images does not read to their end.
    ///
    /// # Errors
    /// A prompt cannot be split into tokens.
    pub fn prompt_warnings(&self) -> Result<Vec<(usize, Warning)>> {
        let mut all = vec![];
        let comparer = self.networks.likeness.as_deref();
        let Some(reader) = comparer.and_then(|comparer| comparer.prompt_reader()) else {
            return Ok(all);
        };
        for (case, parsed) in self.parsed.iter().enumerate() {
            if parsed.prompt.parts.likeness {
                let warning = reader.check(&parsed.text, false)?;
                all.extend(warning.map(|warning| (case, warning)));
            }
        }
        Ok(all)
    }

    fn likeness(&self, parsed: &[&ParsedPrompt], images: &[Image]) -> Result<Vec<f32>> {
        let comparer = needed(
            self.networks.likeness.as_deref(),
            "compares image and prompt",
        )?;
        let mut all = Vec::with_capacity(images.len());
        for group in parsed.chunk_by(|a, b| a.text == b.text) {
            let images = &images[all.len()..all.len() + group.len()];
            all.extend(comparer.cosines(&group[0].text, images)?);
        }
        check_finite("CLIP", &all)?;
        Ok(all)
    }
}

/// Checks the outputs of a network.
///
/// # Errors
/// One of the answers is NaN or infinite.
fn check_finite(who: &str, answers: &[f32]) -> Result<()> {
    if answers.iter().all(|answer| answer.is_finite()) {
        return Ok(());
    }
    Err(
        Error::input(format!("{who} returned NaN or infinity for an image"))
            .with_hint("its weights may be damaged"),
    )
}

fn needed<'n, T: ?Sized>(network: Option<&'n T>, what: &str) -> Result<&'n T> {
    network.ok_or_else(|| {
        Error::input(format!(
            "a prompt needs a network that {what}, but none was given"
        ))
    })
}

/// Runs `work` on the images of those prompts that have a part; `None` for the others.
fn for_relevant<T>(
    parsed: &[&ParsedPrompt],
    images: &[Image],
    has_part: impl Fn(Parts) -> bool,
    work: impl FnOnce(&[&ParsedPrompt], &[Image]) -> Result<Vec<T>>,
) -> Result<Vec<Option<T>>> {
    let mut relevant = vec![];
    let mut relevant_images = vec![];
    for (prompt, image) in parsed.iter().zip(images) {
        if has_part(prompt.prompt.parts) {
            relevant.push(*prompt);
            relevant_images.push(image.clone());
        }
    }
    if relevant.is_empty() {
        return Ok(parsed.iter().map(|_| None).collect());
    }
    let mut results = work(&relevant, &relevant_images)?.into_iter();
    let mut all = vec![];
    for prompt in parsed {
        all.push(if has_part(prompt.prompt.parts) {
            results.next()
        } else {
            None
        });
    }
    Ok(all)
}

/// The outputs of the networks for an image.
struct NetworkOutputs {
    answers: Option<Vec<f32>>,
    found: Option<Vec<Object>>,
    likeness: Option<f32>,
}

impl NetworkOutputs {
    fn verdict(self, parsed: &ParsedPrompt, image: &Image) -> Verdict {
        let mut scores = vec![];
        let mut reasons = vec![];
        let mut details = Map::new();
        let mut add = |name: &str, detail: Value, score: f64, reason: String| {
            scores.push(score);
            reasons.push(reason);
            details.insert(name.to_owned(), detail);
        };
        if let Some(answers) = self.answers {
            let (text, reason) = attributes(&parsed.questions, &answers);
            let score = text.parse().unwrap_or(0.0);
            add(results::ATTRIBUTES, text.into(), score, reason);
        }
        let factors = boxes::resize_factors(image);
        let found = self.found.unwrap_or_default();
        if let Some(relation) = &parsed.relation {
            let (score, reason) = relation.evaluate(&found, factors);
            add(results::RELATION, score.into(), score, reason);
        }
        if parsed.prompt.parts.numbers {
            let (score, reason) = numeracy::evaluate(&parsed.counts, &found, factors);
            add(results::NUMBERS, score.into(), score, reason);
        }
        if let Some(likeness) = self.likeness.map(f64::from) {
            let reason = format!("cosine {likeness:.4}");
            add(results::LIKENESS, likeness.into(), likeness, reason);
        }
        if parsed.prompt.parts.boxes() {
            details.insert("objects".to_owned(), rows(&found));
        }
        // For complex prompts, this is the 3-in-1 mean.
        let score = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        Verdict {
            score,
            reason: reasons.join("\n"),
            details: Some(details.into()),
        }
    }
}

/// The product of the answers. Each answer and the product are rounded to four decimals, as the
/// original does when writing and reading them.
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

/// The objects that are certain enough: each class with rows of left, top, right, bottom, score.
fn rows(found: &[Object]) -> Value {
    let mut classes: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    for object in found.iter().filter(|object| object.score >= THRESHOLD) {
        let [left, top, right, bottom] = object.bounds;
        let row = json!([left, top, right, bottom, object.score]);
        classes.entry(object.class).or_default().push(row);
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

    /// Similarities are cosines.
    fn least_score(&self) -> f64 {
        -1.0
    }

    fn evaluate(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        self.evaluate_batch(&vec![case; images.len()], images)
    }

    fn evaluate_batch(&self, cases: &[usize], images: &[Image]) -> Result<Vec<Verdict>> {
        let parsed: Vec<&ParsedPrompt> = cases.iter().map(|case| &self.parsed[*case]).collect();
        let attributes = |parts: Parts| parts.attributes;
        let likeness = |parts: Parts| parts.likeness;
        let answers = for_relevant(&parsed, images, attributes, |parsed, images| {
            self.answers(parsed, images)
        })?;
        let found = for_relevant(&parsed, images, Parts::boxes, |_, images| {
            needed(self.networks.detector.as_deref(), "finds things")?.detect(images)
        })?;
        let likeness = for_relevant(&parsed, images, likeness, |parsed, images| {
            self.likeness(parsed, images)
        })?;
        let outputs = answers.into_iter().zip(found).zip(likeness);
        let mut verdicts = vec![];
        for ((prompt, image), ((answers, found), likeness)) in
            parsed.iter().zip(images).zip(outputs)
        {
            let outputs = NetworkOutputs {
                answers,
                found,
                likeness,
            };
            verdicts.push(outputs.verdict(prompt, image));
        }
        Ok(verdicts)
    }
}
