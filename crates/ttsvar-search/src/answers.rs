//! Answers to questions about images, which show what is wrong with an image.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Result, number,
    search::check_count,
    trace::{Candidate, Trace},
};

/// A question about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its text.
    pub question: String,
    /// The right answer, such as `Yes` or `four`.
    pub answer: String,
}

/// The scores of images, with the answers that they are computed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnsweredScores {
    /// One score for each image.
    pub scores: Vec<f32>,
    /// The questions; none if the scorer was asked no list of them.
    pub questions: Vec<Question>,
    /// The probability of the right answer as `[image][question]`; empty without questions.
    pub answers: Vec<Vec<f32>>,
}

/// Scores without questions.
impl From<Vec<f32>> for AnsweredScores {
    fn from(scores: Vec<f32>) -> Self {
        Self {
            scores,
            ..Self::default()
        }
    }
}

impl AnsweredScores {
    /// The answers about one image.
    pub fn of_image(&self, image: usize) -> Vec<AnsweredQuestion> {
        let answers = self.answers.get(image).map_or(&[][..], Vec::as_slice);
        pair(&self.questions, answers)
    }

    /// Checks that there is one score for each image, and either no question or one answer to each.
    pub(super) fn check(&self, images: usize) -> Result<()> {
        check_count("scorer", "scores", self.scores.len(), images)?;
        if self.questions.is_empty() {
            return check_count("scorer", "lists of answers", self.answers.len(), 0);
        }
        check_count("scorer", "lists of answers", self.answers.len(), images)?;
        let questions = self.questions.len();
        let mut answers = self.answers.iter();
        answers.try_for_each(|list| check_count("scorer", "answers", list.len(), questions))
    }
}

/// A question with its answer about one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnsweredQuestion {
    /// The question with the right answer.
    #[serde(flatten)]
    pub question: Question,
    /// The probability of the right answer; NaN if there is none.
    #[serde(with = "number")]
    pub probability: f32,
}

impl AnsweredQuestion {
    /// Returns whether another answer is more likely than the right one, or there is none.
    pub fn is_wrong(&self) -> bool {
        self.probability.is_nan() || self.probability < RIGHT
    }
}

/// `Is there a cat? Yes: 0.25`
impl fmt::Display for AnsweredQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Question { question, answer } = &self.question;
        write!(f, "{question} {answer}: {:.2}", self.probability)
    }
}

/// The probability from which on an answer counts as right.
pub const RIGHT: f32 = 0.5;

/// The answers that a scorer gave in one scoring, in a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// The scorer.
    pub scorer: String,
    /// The scale after which the images were decoded.
    pub scale: usize,
    /// The questions.
    pub questions: Vec<Question>,
    /// The answers about each image.
    pub candidates: Vec<CandidateAnswers>,
}

/// The answers about the image of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateAnswers {
    /// The candidate.
    pub id: usize,
    /// The probability of the right answer to each question.
    #[serde(with = "number::list")]
    pub probabilities: Vec<f32>,
}

impl Answers {
    /// The answers in `scored` about the images of the candidates `ids`; `None` without questions.
    pub fn new(scorer: &str, scale: usize, ids: &[usize], scored: AnsweredScores) -> Option<Self> {
        if scored.questions.is_empty() {
            return None;
        }
        let candidates = ids.iter().zip(scored.answers);
        Some(Self {
            scorer: scorer.to_owned(),
            scale,
            questions: scored.questions,
            candidates: candidates
                .map(|(&id, probabilities)| CandidateAnswers { id, probabilities })
                .collect(),
        })
    }

    /// The answers about a candidate; none if this scoring did not have it.
    pub fn of_candidate(&self, id: usize) -> Vec<AnsweredQuestion> {
        let found = self.candidates.iter().find(|candidate| candidate.id == id);
        found.map_or(vec![], |found| pair(&self.questions, &found.probabilities))
    }
}

fn pair(questions: &[Question], probabilities: &[f32]) -> Vec<AnsweredQuestion> {
    let pairs = questions.iter().zip(probabilities);
    pairs
        .map(|(question, &probability)| AnsweredQuestion {
            question: question.clone(),
            probability,
        })
        .collect()
}

impl Trace {
    /// The name of each scorer that was asked questions, with its latest answers about a candidate
    /// or its nearest ancestor with answers.
    pub fn answers_of(&self, id: usize) -> Vec<(&str, Vec<AnsweredQuestion>)> {
        let mut all: Vec<(&str, Vec<AnsweredQuestion>)> = vec![];
        for Answers { scorer, .. } in &self.answers {
            if all.iter().any(|(known, _)| known == scorer) {
                continue;
            }
            let mut lineage = self.lineage(id);
            if let Some(answers) = lineage.find_map(|member| self.latest_answers(scorer, member)) {
                all.push((scorer, answers));
            }
        }
        all
    }

    /// The latest answers of a scorer about a candidate.
    fn latest_answers(&self, scorer: &str, candidate: &Candidate) -> Option<Vec<AnsweredQuestion>> {
        let mut of_scorer = self.answers.iter().rev().filter(|one| one.scorer == scorer);
        of_scorer.find_map(|one| {
            let answers = one.of_candidate(candidate.id);
            (!answers.is_empty()).then_some(answers)
        })
    }
}
