//! Words of a prompt that a model with a small, closed vocabulary does not know.

use std::collections::HashSet;

/// Words of `prompt` that are not among `known`, each once, in the order of their first use, in
/// lower case.
///
/// A word is a run of letters and digits; case does not matter.
///
/// ```
/// let known = ["a", "red", "circle"].map(String::from);
/// assert_eq!(ttsvar::text::unknown_words("A red circle, a RED dragon!", &known), ["dragon"]);
/// ```
pub fn unknown_words(prompt: &str, known: &[String]) -> Vec<String> {
    let mut seen: HashSet<String> = known.iter().map(|word| word.to_lowercase()).collect();
    let words = prompt
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words
        .map(str::to_lowercase)
        .filter(|word| seen.insert(word.clone()))
        .collect()
}
