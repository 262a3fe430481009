//! Questions that scorers answer about images: `auto` takes prompts apart, or there is a list for
//! each prompt.
//!
//! ```json
//! { "prompt": "a cat left of a dog", "questions": ["Is there a cat?", ["How many dogs?", "one"]] }
//! ```

mod files;

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;
use ttsvar_search::suggestion::suggest;

use crate::{Error, Result, file};

/// `auto`, or lists of questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Questions {
    /// Prompts are taken apart by rules.
    #[default]
    Auto,
    /// There are lists for some prompts; others are taken apart by rules.
    Lists(Vec<PromptQuestions>),
}

/// The questions about a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptQuestions {
    /// The prompt.
    pub prompt: String,
    /// The questions, at least one.
    #[serde(alias = "vqa_list")] // as in GenEval 2
    pub questions: Vec<ListedQuestion>,
}

/// A question about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "QuestionForm", into = "QuestionForm")]
pub struct ListedQuestion {
    /// Its text.
    pub question: String,
    /// The right answer, such as `Yes` or `four`.
    pub answer: String,
    /// Numbers of earlier questions in the same list that must be answered rightly for this one to
    /// count.
    pub parents: Vec<usize>,
}

/// The answer to most questions.
pub const YES: &str = "Yes";

impl ListedQuestion {
    /// A question that depends on no other one.
    pub fn new(question: impl Into<String>, answer: &str) -> Self {
        Self {
            question: question.into(),
            answer: answer.to_owned(),
            parents: vec![],
        }
    }
}

/// The ways to write a question.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum QuestionForm {
    /// One whose answer is yes.
    Text(String),
    Pair(String, String),
    Fields {
        question: String,
        #[serde(default = "yes")]
        answer: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parents: Vec<usize>,
    },
}

fn yes() -> String {
    YES.to_owned()
}

impl From<QuestionForm> for ListedQuestion {
    fn from(form: QuestionForm) -> Self {
        match form {
            QuestionForm::Text(question) => Self::new(question, YES),
            QuestionForm::Pair(question, answer) => Self::new(question, &answer),
            QuestionForm::Fields {
                question,
                answer,
                parents,
            } => Self {
                question,
                answer,
                parents,
            },
        }
    }
}

impl From<ListedQuestion> for QuestionForm {
    fn from(listed: ListedQuestion) -> Self {
        match listed.parents.is_empty() {
            true if listed.answer == YES => Self::Text(listed.question),
            true => Self::Pair(listed.question, listed.answer),
            false => Self::Fields {
                question: listed.question,
                answer: listed.answer,
                parents: listed.parents,
            },
        }
    }
}

const EXPECTED: &str = "expected `auto`, or a file with questions";
const EXPECTED_LISTS: &str = "expected `auto`, or a list of objects with `prompt` and `questions`";

impl Questions {
    /// Reads a value of the command line: `auto`, or the path of a file with questions.
    ///
    /// # Errors
    /// The file cannot be read, or it has another format.
    pub fn from_argument(argument: &str) -> Result<Self> {
        let path = Path::new(argument);
        let is_word = argument.chars().all(char::is_alphanumeric);
        match argument {
            "auto" => Ok(Self::Auto),
            _ if is_word && !path.exists() => {
                let message = format!("no such questions: `{argument}`");
                Err(Error::input(message).with_hint(suggest(argument, &["auto"], EXPECTED)))
            }
            _ => Self::open(path),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or it has another format.
    pub fn open(path: &Path) -> Result<Self> {
        let text = file::read_text(path)?;
        Self::from_text(&text).map_err(|error| Error::in_file(path, error))
    }

    /// Reads the text of a file: JSON lines, or the table of DPG-Bench.
    ///
    /// # Errors
    /// It is neither.
    pub fn from_text(text: &str) -> Result<Self> {
        Self::from_lists(files::lists(text)?).map_err(|error| error.with_hint(files::HINT))
    }

    /// Reads a value of a request or a record: `auto`, a list, or the text of a file.
    ///
    /// # Errors
    /// It is none of them.
    pub fn from_json(value: &Value) -> Result<Self> {
        match value {
            Value::Array(_) => {
                let lists = serde_path_to_error::deserialize(value).map_err(|error| {
                    let place = error.path().to_string();
                    let cause = error.inner().to_string();
                    Error::input(format!("`questions`: {place}: {cause}")).with_hint(EXPECTED_LISTS)
                })?;
                Self::from_lists(lists)
            }
            Value::String(text) if text == "auto" => Ok(Self::Auto),
            Value::String(text) if Self::is_content(text) => Self::from_text(text),
            other => Err(
                Error::input(format!("questions is {other}, expected `auto` or a list"))
                    .with_hint(EXPECTED_LISTS),
            ),
        }
    }

    /// Returns whether a text is the content of a file, and not its path or `auto`.
    pub fn is_content(text: &str) -> bool {
        text.contains(['\n', '{'])
    }

    /// Checks the lists and trims their prompts.
    fn from_lists(mut lists: Vec<PromptQuestions>) -> Result<Self> {
        if lists.is_empty() {
            return Err(Error::input("there are no questions").with_hint(EXPECTED_LISTS));
        }
        for list in &mut lists {
            list.prompt = list.prompt.trim().to_owned();
            list.check()?;
        }
        Ok(Self::Lists(lists))
    }

    /// The lists; none for `auto`.
    pub fn lists(&self) -> &[PromptQuestions] {
        match self {
            Self::Auto => &[],
            Self::Lists(lists) => lists,
        }
    }

    /// The list about a prompt, if there is one. Of several, the last one counts.
    pub fn list(&self, prompt: &str) -> Option<&PromptQuestions> {
        let mut lists = self.lists().iter().rev();
        lists.find(|list| list.prompt == prompt.trim())
    }

    /// The same without the lists about other prompts.
    pub fn only(&self, prompt: &str) -> Self {
        match self.list(prompt) {
            Some(list) => Self::Lists(vec![list.clone()]),
            None => Self::Auto,
        }
    }
}

/// Questions about a prompt, at most.
const MOST: usize = 1000;

impl PromptQuestions {
    fn check(&self) -> Result<()> {
        let wrong = |what: String| {
            let prompt = self.prompt.escape_debug();
            Err(
                Error::input(format!("the questions about `{prompt}`: {what}"))
                    .with_hint("each prompt has one question or more, such as `Is there a cat?`"),
            )
        };
        let count = self.questions.len();
        if !(1..=MOST).contains(&count) {
            return wrong(format!("expected 1 to {MOST} questions, found {count}"));
        }
        for (number, listed) in self.questions.iter().enumerate() {
            if listed.question.trim().is_empty() || listed.answer.trim().is_empty() {
                return wrong(format!("question {number} or its answer is empty"));
            }
            if let Some(parent) = listed.parents.iter().find(|parent| **parent >= number) {
                return wrong(format!(
                    "question {number} depends on {parent}, which is not an earlier question"
                ));
            }
        }
        Ok(())
    }
}

/// `auto`, or a list.
impl Serialize for Questions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Lists(lists) => lists.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Questions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map_err(D::Error::custom)
    }
}

/// The mean of several answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionMean {
    /// How many things are right.
    #[default]
    Arithmetic,
    /// Whether everything is right.
    Geometric,
}

impl QuestionMean {
    /// The mean of probabilities.
    pub fn of(self, values: &[f32]) -> f32 {
        let count = values.len() as f32;
        match self {
            Self::Arithmetic => values.iter().sum::<f32>() / count,
            Self::Geometric => (values.iter().map(|value| value.ln()).sum::<f32>() / count).exp(),
        }
    }
}

impl FromStr for QuestionMean {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "arithmetic" => Ok(Self::Arithmetic),
            "geometric" => Ok(Self::Geometric),
            _ => Err(
                Error::input(format!("unknown mean `{name}`")).with_hint(suggest(
                    name,
                    &["arithmetic", "geometric"],
                    "expected `arithmetic` or `geometric`",
                )),
            ),
        }
    }
}

impl fmt::Display for QuestionMean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arithmetic => "arithmetic",
            Self::Geometric => "geometric",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for value in [
            json!("auto"),
            json!([{ "prompt": "a", "questions": [
                "Is it a?",
                ["How many?", "two"],
                { "question": "Is it red?", "answer": "Yes", "parents": [0] },
            ] }]),
        ] {
            let questions = Questions::from_json(&value).unwrap();
            assert_eq!(serde_json::to_value(&questions).unwrap(), value);
        }
        let text = "{\"prompt\": \"a\", \"questions\": [{\"question\": \"b?\"}]}\n";
        let questions = Questions::from_json(&json!(text)).unwrap();
        assert_eq!(
            serde_json::to_value(&questions).unwrap(),
            json!([{ "prompt": "a", "questions": ["b?"] }])
        );
    }

    #[test]
    fn a_record_has_the_list_of_its_prompt_only() {
        let value = json!([
            { "prompt": "a", "questions": ["1?"] },
            { "prompt": " b ", "questions": ["2?"] },
            { "prompt": "a", "questions": ["3?"] },
        ]);
        let questions = Questions::from_json(&value).unwrap();
        let only = |prompt: &str| serde_json::to_value(questions.only(prompt)).unwrap();
        assert_eq!(only("a"), json!([{ "prompt": "a", "questions": ["3?"] }]));
        assert_eq!(only("b"), json!([{ "prompt": "b", "questions": ["2?"] }]));
        assert_eq!(only("c"), json!("auto"));
    }

    #[test]
    fn what_is_not_a_list_of_questions_is_refused() {
        for value in [
            json!([]),
            json!([{ "prompt": "a" }]),
            json!([{ "prompt": "a", "questions": [] }]),
            json!([{ "prompt": "a", "questions": [" "] }]),
            json!([{ "prompt": "a", "questions": [["b?", ""]] }]),
            json!([{ "prompt": "a", "questions": [{ "question": "b?", "parents": [0] }] }]),
            json!([{ "prompt": "a", "questions": vec!["b?"; 1001] }]),
            json!([{ "prompt": "a", "questions": [1] }]),
            json!(["a"]),
            json!("automatic"),
            json!("\n"),
            json!(3),
            json!({}),
        ] {
            let error = Questions::from_json(&value).unwrap_err();
            assert!(error.hint().is_some(), "{value}: {error}");
        }
    }

    #[test]
    fn means_are_arithmetic_or_geometric() {
        assert_eq!(QuestionMean::Arithmetic.of(&[0.0, 1.0]), 0.5);
        assert_eq!(QuestionMean::Geometric.of(&[0.0, 1.0]), 0.0);
        assert!((QuestionMean::Geometric.of(&[0.25, 1.0]) - 0.5).abs() < 1e-6);
        assert!(QuestionMean::Arithmetic.of(&[f32::NAN, 1.0]).is_nan());
    }
}
