//! Words of a prompt that a model with a small, closed vocabulary does not know.

use std::collections::HashSet;

/// Words of `prompt` that are not among `known`, each once, in the order of their first use, in
/// lower case. Of a prompt without words, such as `...`, the whole prompt is unknown.
///
/// A word is a run of letters, digits, and symbols such as emoji; case does not matter.
///
/// ```
/// let known = ["a", "red", "circle"].map(String::from);
/// assert_eq!(ttsvar::text::unknown_words("A red circle, a RED dragon!", &known), ["dragon"]);
/// ```
pub fn unknown_words(prompt: &str, known: &[String]) -> Vec<String> {
    let words: Vec<&str> = prompt
        .split(|c: char| !c.is_alphanumeric() && !is_symbol(c))
        .filter(|word| !word.is_empty())
        .collect();
    let whole = prompt.trim();
    if words.is_empty() && !whole.is_empty() {
        return vec![whole.to_owned()];
    }
    let mut seen: HashSet<String> = known.iter().map(|word| word.to_lowercase()).collect();
    words
        .into_iter()
        .map(str::to_lowercase)
        .filter(|word| seen.insert(word.clone()))
        .collect()
}

/// Arrows, shapes and emoji, by Unicode's blocks.
fn is_symbol(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emoji_are_words_and_punctuation_is_not() {
        let known = ["a", "red", "circle"].map(String::from);
        for (prompt, unknown) in [
            ("a red circle 🎉", &["🎉"][..]),
            ("“a red circle” …", &[]),
            ("...", &["..."]),
            (" 🎉🎉 ", &["🎉🎉"]),
            ("", &[]),
        ] {
            assert_eq!(unknown_words(prompt, &known), unknown, "{prompt}");
        }
    }
}
