//! The request about an image, and what its answer says.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{scorers::questions::is_yes_or_no, text::NUMBERS};

/// Tokens of an answer, at most.
const TOKENS: usize = 16;

/// Alternatives of each token that are asked for: the most that the API allows.
const ALTERNATIVES: usize = 20;

/// The request for an answer to a question about an image.
pub(super) fn request(model: &str, question: &str, png: &[u8]) -> Value {
    let image = format!("data:image/png;base64,{}", STANDARD.encode(png));
    json!({
        "model": model,
        "messages": [{
            "role": "user",
            "content": [
                { "type": "image_url", "image_url": { "url": image } },
                { "type": "text", "text": question },
            ],
        }],
        "max_tokens": TOKENS,
        "temperature": 0,
        "logprobs": true,
        "top_logprobs": ALTERNATIVES,
    })
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    logprobs: Option<LogProbs>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize)]
struct LogProbs {
    content: Option<Vec<Token>>,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    #[serde(default)]
    top_logprobs: Vec<Alternative>,
}

#[derive(Deserialize)]
struct Alternative {
    token: String,
    logprob: f64,
}

/// The probability of the right answer in the text of an answer; `None` if it cannot be told.
///
/// With log-probabilities it is p(yes) / (p(yes) + p(no)) at the first token that is not blank, over
/// all ways to write the words; otherwise what the text says: yes, no, or a number. Where the right
/// answer is another word, it is the probability of that word, or whether the text begins with it.
pub(super) fn probability(text: &str, right: &str) -> Option<f32> {
    let completion: Completion = serde_json::from_str(text).ok()?;
    let choice = completion.choices.into_iter().next()?;
    let tokens = choice.logprobs.and_then(|all| all.content);
    let right = word(right);
    if !is_yes_or_no(&right) {
        let from_tokens = tokens.and_then(|tokens| probability_of_word(&tokens, &right));
        return from_tokens.or_else(|| begins_with(&choice.message.content?, &right));
    }
    let from_tokens = tokens.and_then(|tokens| probability_of_yes(&tokens));
    let yes = from_tokens.or_else(|| probability_of_text(&choice.message.content?))?;
    Some(if right == "no" { 1.0 - yes } else { yes })
}

/// The probability of a word at the first token that is not blank.
fn sum(tokens: &[Token], wanted: &str) -> Option<f64> {
    let first = tokens.iter().find(|token| !word(&token.token).is_empty())?;
    let alternatives = first.top_logprobs.iter();
    let fitting = alternatives.filter(|alternative| same(&word(&alternative.token), wanted));
    // An empty sum would be -0.
    Some(fitting.fold(0.0, |sum, alternative| sum + alternative.logprob.exp()))
}

fn probability_of_yes(tokens: &[Token]) -> Option<f32> {
    let yes = sum(tokens, "yes")?;
    let no = sum(tokens, "no")?;
    let probability = yes / (yes + no);
    probability.is_finite().then_some(probability as f32)
}

fn probability_of_word(tokens: &[Token], wanted: &str) -> Option<f32> {
    let first = tokens.iter().find(|token| !word(&token.token).is_empty())?;
    if first.top_logprobs.is_empty() {
        return None;
    }
    let probability = sum(tokens, wanted)?;
    probability
        .is_finite()
        .then_some(probability.min(1.0) as f32)
}

/// 1 if a text begins with a word, otherwise 0; `None` if it has no words.
fn begins_with(text: &str, wanted: &str) -> Option<f32> {
    let mut words = text.split_whitespace().map(word);
    let first = words.find(|word| !word.is_empty())?;
    Some(if same(&first, wanted) { 1.0 } else { 0.0 })
}

/// Returns whether two words are the same, or a number in letters and in digits.
fn same(a: &str, b: &str) -> bool {
    let digits = |word: &str| match NUMBERS.iter().position(|number| *number == word) {
        Some(number) => number.to_string(),
        None => word.to_owned(),
    };
    digits(a) == digits(b)
}

/// The letters and digits of a token, in lower case. Some servers mark the space before it.
fn word(token: &str) -> String {
    let letters = token.chars().filter(|c| c.is_alphanumeric());
    letters
        .flat_map(char::to_lowercase)
        .filter(|c| *c != 'ġ')
        .collect()
}

/// What an answer in words says: its first word, or else a number from 0 to 1, in percent, or out of
/// another one (`8/10`).
fn probability_of_text(text: &str) -> Option<f32> {
    let text = text.trim();
    match word(text.split_whitespace().next()?).as_str() {
        "yes" => return Some(1.0),
        "no" => return Some(0.0),
        _ => {}
    }
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let (number, rest) = leading_number(&text[start..])?;
    let rest = rest.trim_start();
    let value = if rest.starts_with('%') {
        number / 100.0
    } else if let Some(whole) = rest.strip_prefix('/') {
        number / leading_number(whole.trim_start())?.0
    } else {
        number
    };
    let negative = text[..start].ends_with('-');
    (!negative && (0.0..=1.0).contains(&value)).then_some(value as f32)
}

/// The number with which a text begins, and the rest of the text.
fn leading_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number = text[..end].trim_end_matches('.').parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_words(text: &str) -> Option<f32> {
        probability(
            &json!({ "choices": [{ "message": { "content": text } }] }).to_string(),
            "Yes",
        )
    }

    fn in_tokens(tokens: Value) -> Option<f32> {
        let choice = json!({
            "message": { "content": "No." },
            "logprobs": { "content": tokens },
        });
        probability(&json!({ "choices": [choice] }).to_string(), "yes")
    }

    #[test]
    fn all_ways_to_write_the_words_are_added() {
        let alternative = |token: &str, p: f64| json!({ "token": token, "logprob": p.ln() });
        let blank = json!({ "token": "\n", "top_logprobs": [alternative("yes", 0.9)] });
        let first = json!({
            "token": "No",
            "top_logprobs": [
                alternative("No", 0.3),
                alternative(" yes", 0.2),
                alternative("YES", 0.2),
                alternative("Ġno", 0.1),
                alternative("Maybe", 0.2),
            ],
        });
        let found = in_tokens(json!([blank, first])).unwrap();
        assert!((found - 0.5).abs() < 1e-6, "{found}");
    }

    #[test]
    fn without_either_word_among_the_tokens_the_text_counts() {
        assert_eq!(in_tokens(json!([])), Some(0.0));
        assert_eq!(in_tokens(json!([{ "token": "x" }])), Some(0.0));
        assert_eq!(in_tokens(Value::Null), Some(0.0));
    }

    #[test]
    fn words_and_numbers_are_understood() {
        for (text, value) in [
            ("Yes.", Some(1.0)),
            ("**no**, it does not", Some(0.0)),
            ("0.75", Some(0.75)),
            ("80 %", Some(0.8)),
            ("I would say 8/10.", Some(0.8)),
            ("Score: 1.", Some(1.0)),
            ("7", None),
            ("-0.5", None),
            ("3/0", None),
            ("a cat", None),
            ("", None),
        ] {
            assert_eq!(in_words(text), value, "{text}");
        }
    }

    #[test]
    fn other_right_answers_are_words() {
        let alternative = |token: &str, p: f64| json!({ "token": token, "logprob": p.ln() });
        let token = json!({
            "token": "4",
            "top_logprobs": [
                alternative("4", 0.5),
                alternative(" Four", 0.25),
                alternative("no", 0.25),
            ],
        });
        let choice = json!({
            "message": { "content": "4" },
            "logprobs": { "content": [token] },
        });
        let text = json!({ "choices": [choice] }).to_string();
        let found = |right: &str| probability(&text, right).unwrap();
        assert!((found("four") - 0.75).abs() < 1e-6);
        assert_eq!(found("five"), 0.0);
        assert_eq!(found("No"), 1.0);
        let words = json!({ "choices": [{ "message": { "content": "Three cows." } }] }).to_string();
        assert_eq!(probability(&words, "3"), Some(1.0));
        assert_eq!(probability(&words, "four"), Some(0.0));
    }

    #[test]
    fn nonsense_is_no_answer() {
        for text in ["", "{", "<html>", "{}", "{\"choices\":[]}", "[1]", "null"] {
            assert_eq!(probability(text, "Yes"), None, "{text}");
        }
    }
}
