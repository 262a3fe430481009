//! Scores by questions about prompts. The answers show what is wrong with an image, and their mean
//! is a score.

use std::collections::HashSet;

use ttsvar_search::{AnsweredScores, Image, Question, answers::RIGHT};

use super::ImageQuestions;
use crate::{
    Result,
    options::{ListedQuestion, QuestionMean, Questions, YES},
    text::{
        NUMBERS,
        atoms::{Atoms, Thing},
        relation::Link,
    },
};

/// Questions about prompts, with the mean that makes a score of the answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuestionLists {
    source: Questions,
    mean: QuestionMean,
}

impl QuestionLists {
    /// The questions of a source.
    pub fn new(source: Questions, mean: QuestionMean) -> Self {
        Self { source, mean }
    }

    /// The prompts that have lists, in their order and each once.
    pub fn prompts(&self) -> Vec<&str> {
        let mut known = HashSet::new();
        let prompts = self.source.lists().iter().map(|list| list.prompt.as_str());
        prompts.filter(|prompt| known.insert(*prompt)).collect()
    }

    /// The mean that makes a score of the answers.
    pub fn mean(&self) -> QuestionMean {
        self.mean
    }

    /// The questions about a prompt; none if there is no list and the rules do not know its form.
    pub fn questions(&self, prompt: &str) -> Vec<ListedQuestion> {
        match self.source.list(prompt) {
            Some(list) => list.questions.clone(),
            None => questions_by_rules(prompt),
        }
    }

    /// The mean of the answers about a prompt, with the answers, for each image; `None` without
    /// questions.
    ///
    /// # Errors
    /// The network fails.
    pub fn score(
        &self,
        network: &dyn ImageQuestions,
        prompt: &str,
        images: &[Image],
    ) -> Result<Option<AnsweredScores>> {
        let listed = self.questions(prompt);
        if listed.is_empty() {
            return Ok(None);
        }
        let mut answers = vec![vec![]; images.len()];
        for ListedQuestion {
            question, answer, ..
        } in &listed
        {
            let probabilities = network.answer(question, answer, images)?;
            for (answers, probability) in answers.iter_mut().zip(probabilities) {
                answers.push(probability);
            }
        }
        let score = |answers: &Vec<f32>| self.mean.of(&without_orphans(&listed, answers));
        let scores = answers.iter().map(score).collect();
        let questions = listed.into_iter().map(|listed| Question {
            question: listed.question,
            answer: listed.answer,
        });
        Ok(Some(AnsweredScores {
            scores,
            questions: questions.collect(),
            answers,
        }))
    }
}

/// Sets answers to 0 if a question that they depend on is answered wrongly or was set to 0 itself,
/// as DPG-Bench does: one question after the other, in their order.
fn without_orphans(questions: &[ListedQuestion], values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    for (i, question) in questions.iter().enumerate().take(values.len()) {
        let wrong = |parent: &usize| values.get(*parent).is_some_and(|value| *value < RIGHT);
        if question.parents.iter().any(wrong) {
            values[i] = 0.0;
        }
    }
    values
}

/// Returns whether a question is to be answered with yes or no.
pub fn is_yes_or_no(answer: &str) -> bool {
    ["yes", "no"].contains(&answer.trim().to_lowercase().as_str())
}

/// Questions about the things of a prompt, their numbers, colours and positions.
fn questions_by_rules(prompt: &str) -> Vec<ListedQuestion> {
    let Some(atoms) = Atoms::parse(prompt) else {
        return vec![];
    };
    let mut questions = vec![];
    for thing in &atoms.things {
        questions.push(about_presence(thing));
        questions.extend(about_colour(thing));
    }
    for (first, link, second) in &atoms.relations {
        let (first, second) = (&atoms.things[*first], &atoms.things[*second]);
        questions.push(about_position(first, *link, second));
    }
    questions
}

/// Whether a thing is there, or how many there are.
fn about_presence(thing: &Thing) -> ListedQuestion {
    let Some(count) = thing.count.filter(|count| *count > 1) else {
        return ListedQuestion::new(format!("Is there {} in the image?", bare(thing)), YES);
    };
    let answer = NUMBERS.get(count).map(|name| (*name).to_owned());
    let answer = answer.unwrap_or_else(|| count.to_string());
    ListedQuestion::new(
        format!("How many {} are in the image?", thing.noun),
        &answer,
    )
}

/// Whether a thing has its colour.
fn about_colour(thing: &Thing) -> Option<ListedQuestion> {
    let colour = thing.colour?;
    let question = format!("{} the {} {colour}?", verb(thing), thing.noun);
    Some(ListedQuestion::new(question, YES))
}

/// Whether a thing is where it should be.
fn about_position(first: &Thing, link: Link, second: &Thing) -> ListedQuestion {
    let question = format!(
        "{} the {} {} the {}?",
        verb(first),
        unique(first),
        words_of(link),
        unique(second)
    );
    ListedQuestion::new(question, YES)
}

fn verb(thing: &Thing) -> &'static str {
    match thing.count.is_some_and(|count| count > 1) {
        true => "Are",
        false => "Is",
    }
}

/// A thing with its article and without its colour.
fn bare(thing: &Thing) -> String {
    let article = match thing.noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        true => "an",
        false => "a",
    };
    format!("{article} {}", thing.noun)
}

/// A thing with its colour, which may tell it from another one.
fn unique(thing: &Thing) -> String {
    match thing.colour {
        Some(colour) => format!("{colour} {}", thing.noun),
        None => thing.noun.to_owned(),
    }
}

fn words_of(link: Link) -> &'static str {
    match link {
        Link::LeftOf => "to the left of",
        Link::RightOf => "to the right of",
        Link::Above => "above",
        Link::Below => "below",
        Link::Beside => "next to",
        Link::And => "with",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(questions: &[ListedQuestion]) -> Vec<String> {
        let text = |listed: &ListedQuestion| format!("{} {}", listed.question, listed.answer);
        questions.iter().map(text).collect()
    }

    #[test]
    fn templates_come_apart_into_questions() {
        let lists = QuestionLists::default();
        let questions = |prompt: &str| texts(&lists.questions(prompt));
        assert_eq!(
            questions("a photo of a red circle left of two blue squares"),
            [
                "Is there a circle in the image? Yes",
                "Is the circle red? Yes",
                "How many squares are in the image? two",
                "Are the squares blue? Yes",
                "Is the red circle to the left of the blue squares? Yes",
            ]
        );
        assert_eq!(
            questions("a photo of an orange"),
            ["Is there an orange in the image? Yes"]
        );
        assert!(questions("the sound of silence").is_empty());
    }

    #[test]
    fn answers_count_only_with_those_that_they_depend_on() {
        let parents = vec![0];
        let questions = [
            ListedQuestion::new("Is there a cat?", YES),
            ListedQuestion {
                parents,
                ..ListedQuestion::new("Is the cat red?", YES)
            },
        ];
        assert_eq!(without_orphans(&questions, &[0.4, 0.9]), [0.4, 0.0]);
        assert_eq!(without_orphans(&questions, &[0.6, 0.9]), [0.6, 0.9]);

        // Without the cat there is no hat either, and then the hat is not red.
        let below = |parent: usize, question: &str| ListedQuestion {
            parents: vec![parent],
            ..ListedQuestion::new(question, YES)
        };
        let chain = [
            ListedQuestion::new("Is there a cat?", YES),
            below(0, "Does the cat wear a hat?"),
            below(1, "Is the hat red?"),
        ];
        assert_eq!(without_orphans(&chain, &[0.1, 0.9, 0.9]), [0.1, 0.0, 0.0]);
    }

    /// Answers with the length of the question, in hundredths.
    struct ByLength;

    impl ImageQuestions for ByLength {
        fn answer(&self, question: &str, _: &str, images: &[Image]) -> Result<Vec<f32>> {
            Ok(vec![question.len() as f32 / 100.0; images.len()])
        }
    }

    #[test]
    fn scores_are_the_mean_of_the_answers() {
        let lists = json!([
            { "prompt": "p", "questions": ["x"] },
            { "prompt": "p", "questions": ["x".repeat(20), "y".repeat(60)] },
        ]);
        let lists = QuestionLists::new(
            Questions::from_json(&lists).unwrap(),
            QuestionMean::Arithmetic,
        );
        assert_eq!(lists.prompts(), ["p"]);
        let images = [Image::new(1, 1, vec![0; 3])];
        let scored = lists.score(&ByLength, " p ", &images).unwrap().unwrap();
        assert!((scored.scores[0] - 0.4).abs() < 1e-6);
        assert_eq!(scored.answers, [[0.2, 0.6]]);
        assert_eq!(scored.questions[0].answer, YES);
        assert_eq!(lists.score(&ByLength, "of silence", &images).unwrap(), None);
    }
}
