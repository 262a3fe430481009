//! Lists of questions about prompts. The answers show what is wrong with an image, and their mean is
//! a score.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use ttsvar_search::{Image, suggestion::suggest};

use super::ImageQuestions;
use crate::{
    Error, Result, file,
    text::{
        atoms::{Atoms, Thing},
        relation::Link,
    },
};

/// A question about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedQuestion {
    /// Its text.
    pub question: String,
    /// The right answer, such as `Yes` or `four`.
    pub answer: String,
    /// Numbers of questions in the same list that must be answered rightly for this one to count.
    pub parents: Vec<usize>,
}

/// A question with its answer for one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnsweredQuestion {
    /// The question.
    pub question: String,
    /// The right answer.
    pub answer: String,
    /// The probability of the right answer.
    pub probability: f32,
}

/// The score of an image by questions.
#[derive(Clone, Debug, PartialEq)]
pub struct QuestionScore {
    /// The mean of the answers.
    pub score: f32,
    /// The answers; empty if the scorer was asked nothing but its usual question.
    pub answers: Vec<AnsweredQuestion>,
}

/// The mean of several answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuestionMean {
    /// How many things are right.
    #[default]
    Arithmetic,
    /// Whether everything is right.
    Geometric,
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

/// Where questions come from: `auto`, or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionSource {
    /// Prompts are taken apart by rules.
    Auto,
    /// A file has a list for each prompt; other prompts are taken apart by rules.
    File(PathBuf),
}

impl FromStr for QuestionSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Err(Error::input("expected `auto` or a file with questions")),
            "auto" => Ok(Self::Auto),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

/// Lists of questions by prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuestionLists {
    lists: Lists,
    mean: QuestionMean,
}

/// The lists of a file.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lists {
    /// In the order of the file.
    prompts: Vec<String>,
    of_prompt: HashMap<String, Vec<ListedQuestion>>,
}

impl Lists {
    /// The list of a prompt, which is added if there is none.
    fn list(&mut self, prompt: &str) -> &mut Vec<ListedQuestion> {
        if !self.of_prompt.contains_key(prompt) {
            self.prompts.push(prompt.to_owned());
        }
        self.of_prompt.entry(prompt.to_owned()).or_default()
    }
}

impl QuestionLists {
    /// The lists of a source.
    ///
    /// # Errors
    /// The file cannot be read or has another format.
    pub fn open(source: &QuestionSource, mean: QuestionMean) -> Result<Self> {
        let lists = match source {
            QuestionSource::Auto => Lists::default(),
            QuestionSource::File(path) => read(path)?,
        };
        Ok(Self { lists, mean })
    }

    /// The prompts of the file, in its order.
    pub fn prompts(&self) -> &[String] {
        &self.lists.prompts
    }

    /// The mean that makes a score of the answers.
    pub fn mean(&self) -> QuestionMean {
        self.mean
    }

    /// The questions about a prompt; none if there is no list and the rules do not know its form.
    pub fn questions(&self, prompt: &str) -> Vec<ListedQuestion> {
        match self.lists.of_prompt.get(prompt.trim()) {
            Some(questions) => questions.clone(),
            None => questions_by_rules(prompt),
        }
    }

    /// The answers to the questions about a prompt, for each image.
    ///
    /// # Errors
    /// The network fails.
    pub fn answers(
        &self,
        network: &dyn ImageQuestions,
        prompt: &str,
        images: &[Image],
    ) -> Result<Vec<Vec<AnsweredQuestion>>> {
        let mut all = vec![vec![]; images.len()];
        for listed in self.questions(prompt) {
            let probabilities = network.answer(&listed.question, &listed.answer, images)?;
            for (answers, probability) in all.iter_mut().zip(probabilities) {
                answers.push(AnsweredQuestion {
                    question: listed.question.clone(),
                    answer: listed.answer.clone(),
                    probability,
                });
            }
        }
        Ok(all)
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
    ) -> Result<Option<Vec<QuestionScore>>> {
        let questions = self.questions(prompt);
        if questions.is_empty() {
            return Ok(None);
        }
        let answers = self.answers(network, prompt, images)?;
        let score = |answers: Vec<AnsweredQuestion>| {
            let values = answers.iter().map(|answer| answer.probability);
            let values = without_orphans(&questions, values.collect());
            QuestionScore {
                score: self.mean.of(&values),
                answers,
            }
        };
        Ok(Some(answers.into_iter().map(score).collect()))
    }
}

/// Sets answers to 0 if a question that they depend on is answered wrongly, as DPG-Bench does.
fn without_orphans(questions: &[ListedQuestion], values: Vec<f32>) -> Vec<f32> {
    let wrong = |parent: &usize| values.get(*parent).is_some_and(|value| *value < 0.5);
    let counts = |question: &ListedQuestion| !question.parents.iter().any(wrong);
    let pairs = questions.iter().zip(&values);
    pairs
        .map(|(question, value)| if counts(question) { *value } else { 0.0 })
        .collect()
}

impl QuestionMean {
    fn of(self, values: &[f32]) -> f32 {
        let count = values.len() as f32;
        match self {
            Self::Arithmetic => values.iter().sum::<f32>() / count,
            Self::Geometric => (values.iter().map(|value| value.ln()).sum::<f32>() / count).exp(),
        }
    }
}

/// The answer to most questions.
pub const YES: &str = "Yes";

/// Returns whether a question is to be answered with yes or no.
pub fn is_yes_or_no(answer: &str) -> bool {
    ["yes", "no"].contains(&answer.trim().to_lowercase().as_str())
}

/// A question that stands by itself.
fn alone(question: String, answer: &str) -> ListedQuestion {
    ListedQuestion {
        question,
        answer: answer.to_owned(),
        parents: vec![],
    }
}

/// Questions about the things of a prompt, their numbers, colours and positions.
fn questions_by_rules(prompt: &str) -> Vec<ListedQuestion> {
    const NUMBERS: [&str; 11] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    ];
    let Some(atoms) = Atoms::parse(prompt) else {
        return vec![];
    };
    let mut questions = vec![];
    for thing in &atoms.things {
        let noun = thing.noun;
        let plural = thing.count.is_some_and(|count| count > 1);
        if let (Some(count), true) = (thing.count, plural) {
            let answer = NUMBERS.get(count).map(|name| (*name).to_owned());
            let answer = answer.unwrap_or_else(|| count.to_string());
            questions.push(alone(format!("How many {noun} are in the image?"), &answer));
        } else {
            questions.push(alone(
                format!("Is there {} in the image?", bare(thing)),
                YES,
            ));
        }
        if let Some(colour) = thing.colour {
            let verb = if plural { "Are" } else { "Is" };
            questions.push(alone(format!("{verb} the {noun} {colour}?"), YES));
        }
    }
    for (first, link, second) in &atoms.relations {
        let a = &atoms.things[*first];
        let b = &atoms.things[*second];
        let verb = if a.count.is_some_and(|count| count > 1) {
            "Are"
        } else {
            "Is"
        };
        let words = words_of(*link);
        let question = format!("{verb} the {} {words} the {}?", unique(a), unique(b));
        questions.push(alone(question, YES));
    }
    questions
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

/// A line of a file: this program's or GenEval 2's.
#[derive(Deserialize)]
struct Line {
    prompt: String,
    #[serde(alias = "vqa_list")]
    questions: Vec<QuestionFields>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum QuestionFields {
    Text(String),
    Pair(String, String),
    Fields {
        question: String,
        #[serde(default = "yes")]
        answer: String,
    },
}

fn yes() -> String {
    YES.to_owned()
}

impl From<QuestionFields> for ListedQuestion {
    fn from(fields: QuestionFields) -> Self {
        match fields {
            QuestionFields::Text(question) => alone(question, YES),
            QuestionFields::Pair(question, answer)
            | QuestionFields::Fields { question, answer } => alone(question, &answer),
        }
    }
}

const HINT: &str = "expected JSON lines with `prompt` and `questions` (or `vqa_list`, as GenEval 2 has it), \
    or DPG-Bench's dpg_bench.csv";

/// The lists of a file: JSON lines, or DPG-Bench's table.
fn read(path: &Path) -> Result<Lists> {
    let text = file::read_text(path)?;
    let lists = match text.trim_start().starts_with('{') {
        true => json_lists(&text),
        false => dpg_lists(&text),
    };
    let lists = lists.map_err(|error| Error::in_file(path, error).with_hint(HINT))?;
    match lists.prompts.is_empty() {
        true => Err(Error::file(path, "no questions in it").with_hint(HINT)),
        false => Ok(lists),
    }
}

fn json_lists(text: &str) -> Result<Lists> {
    let mut lists = Lists::default();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = |error: String| Error::input(format!("line {}: {error}", number + 1));
        let line: Line = serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
        let questions: Vec<ListedQuestion> = line.questions.into_iter().map(Into::into).collect();
        let empty = |listed: &ListedQuestion| {
            listed.question.trim().is_empty() || listed.answer.trim().is_empty()
        };
        if questions.is_empty() || questions.iter().any(empty) {
            return Err(at("a prompt without questions, or an empty one".to_owned()));
        }
        *lists.list(line.prompt.trim()) = questions;
    }
    Ok(lists)
}

/// The columns of DPG-Bench's table that are read.
const COLUMNS: [&str; 4] = [
    "text",
    "proposition_id",
    "dependency",
    "question_natural_language",
];

/// DPG-Bench: one row per question; rows of a prompt follow each other.
fn dpg_lists(text: &str) -> Result<Lists> {
    let mut rows = csv_rows(text)?.into_iter();
    let heads = rows.next().unwrap_or_default();
    let mut places = [0; COLUMNS.len()];
    for (place, name) in places.iter_mut().zip(COLUMNS) {
        let found = heads.iter().position(|head| head.trim() == name);
        *place = found.ok_or_else(|| Error::input(format!("no column `{name}`")))?;
    }
    let mut lists = Lists::default();
    let mut ids: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, row) in rows.enumerate() {
        let at = |what: &str| Error::input(format!("row {}: {what}", number + 2));
        let cell = |place: usize| row.get(place).map(|cell| cell.trim());
        let [prompt, id, dependency, question] = places.map(cell);
        let prompt = prompt.ok_or_else(|| at("it ends early"))?;
        let question = question.filter(|question| !question.is_empty());
        let question = question.ok_or_else(|| at("it has no question"))?;
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let id = id
            .and_then(number)
            .ok_or_else(|| at("`proposition_id` is not a number"))?;
        let known = ids.entry(prompt.to_owned()).or_default();
        let parents = dependency.unwrap_or_default().split(',').filter_map(number);
        let parents = parents.filter_map(|parent| known.iter().position(|id| *id == parent));
        let listed = ListedQuestion {
            parents: parents.collect(),
            ..alone(question.to_owned(), YES)
        };
        known.push(id);
        lists.list(prompt).push(listed);
    }
    Ok(lists)
}

/// The rows of a table with commas and quotation marks (RFC 4180).
fn csv_rows(text: &str) -> Result<Vec<Vec<String>>> {
    let mut rows = vec![];
    let mut row = vec![];
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    if quoted {
        return Err(Error::input("a quotation mark is never closed"));
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows.retain(|row| row.iter().any(|cell| !cell.trim().is_empty()));
    Ok(rows)
}

#[cfg(test)]
mod tests {
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
    fn lists_of_json_lines_and_of_geneval_2_are_read() {
        let lists = json_lists(concat!(
            r#"{"prompt": "a", "questions": ["Is it a?", {"question": "b?", "answer": "No"}]}"#,
            "\n\n",
            r#"{"prompt": "four cows", "atom_count": 2, "skills": ["count", "object"],"#,
            r#" "vqa_list": [["How many cows are in the image?", "four"], ["Cows?", "Yes"]]}"#,
        ));
        let lists = lists.unwrap();
        assert_eq!(texts(&lists.of_prompt["a"]), ["Is it a? Yes", "b? No"]);
        assert_eq!(
            texts(&lists.of_prompt["four cows"]),
            ["How many cows are in the image? four", "Cows? Yes"]
        );
        for damaged in [
            "{",
            "{}",
            r#"{"prompt": "a", "questions": []}"#,
            r#"{"prompt": "a", "questions": [" "]}"#,
            r#"{"prompt": "a", "questions": [1]}"#,
        ] {
            let error = json_lists(damaged).unwrap_err().to_string();
            assert!(error.starts_with("line 1"), "{error}");
        }
    }

    const DPG: &str = "item_id,text,keywords,proposition_id,dependency,category_broad,\
        category_detailed,tuple,question_natural_language\r\n\
        0,\"A \"\"red\"\" cat,\na dog\",k,1,0,entity,whole,entity - whole (cat),Is there a cat?\r\n\
        0,\"A \"\"red\"\" cat,\na dog\",,2,\"1, 7\",attribute,color,x,Is the cat red?\r\n\
        1,b,,1,0,entity,whole,x,Is there b?\n";

    #[test]
    fn the_table_of_dpg_bench_is_read_with_its_dependencies() {
        let lists = dpg_lists(DPG).unwrap();
        let cat = &lists.of_prompt["A \"red\" cat,\na dog"];
        assert_eq!(texts(cat), ["Is there a cat? Yes", "Is the cat red? Yes"]);
        assert_eq!(cat[1].parents, [0]);
        assert_eq!(without_orphans(cat, vec![0.4, 0.9]), [0.4, 0.0]);
        assert_eq!(without_orphans(cat, vec![0.6, 0.9]), [0.6, 0.9]);
        assert_eq!(lists.of_prompt["b"].len(), 1);
        for damaged in [
            "a,b\n1,2\n",
            "\"",
            &DPG.replace(",1,0,entity", ",x,0,entity"),
        ] {
            assert!(dpg_lists(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn means_are_arithmetic_or_geometric() {
        assert_eq!(QuestionMean::Arithmetic.of(&[0.0, 1.0]), 0.5);
        assert_eq!(QuestionMean::Geometric.of(&[0.0, 1.0]), 0.0);
        assert!((QuestionMean::Geometric.of(&[0.25, 1.0]) - 0.5).abs() < 1e-6);
        assert!(QuestionMean::Arithmetic.of(&[f32::NAN, 1.0]).is_nan());
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
        let mut lists = QuestionLists::default();
        let questions = vec![alone("x".repeat(20), YES), alone("y".repeat(60), YES)];
        *lists.lists.list("p") = questions;
        assert_eq!(lists.prompts(), ["p"]);
        let images = [Image::new(1, 1, vec![0; 3])];
        let scores = lists.score(&ByLength, " p ", &images).unwrap().unwrap();
        assert!((scores[0].score - 0.4).abs() < 1e-6);
        assert_eq!(scores[0].answers[1].probability, 0.6);
        assert_eq!(lists.score(&ByLength, "of silence", &images).unwrap(), None);
    }
}
