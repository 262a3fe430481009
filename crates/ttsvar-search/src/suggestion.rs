//! "Did you mean": the name of a list that was probably meant.

/// The hint for a name that is not one of `names`: the name that was probably meant, if there is
/// one, in front of `expected`.
pub fn suggest(typed: &str, names: &[&str], expected: &str) -> String {
    match closest(typed, names) {
        Some(name) => format!("did you mean `{name}`? {expected}"),
        None => expected.to_owned(),
    }
}

/// The name that `typed` stands for: the same without case and punctuation, its beginning or
/// end, its initials, or one that differs in few letters.
pub fn closest<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    let wanted = letters(typed);
    if wanted.is_empty() {
        return None;
    }
    let find = |fits: &dyn Fn(&str) -> bool| names.iter().copied().find(|name| fits(name));
    find(&|name| letters(name) == wanted)
        .or_else(|| find(&|name| initials(name) == wanted))
        .or_else(|| find(&|name| wanted.chars().count() > 1 && letters(name).starts_with(&wanted)))
        .or_else(|| find(&|name| wanted.chars().count() > 2 && letters(name).ends_with(&wanted)))
        .or_else(|| nearest(&wanted, names))
}

/// The name with the smallest number of changed, missing, added or swapped letters, up to a third
/// of them.
fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let most = wanted.chars().count() / 3;
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wanted, &letters(name)), *name))
        .filter(|(changes, _)| *changes <= most)
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

fn letters(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .take(100) // longer ones are no typing errors
        .collect()
}

/// `bon` of `best-of-n`; empty for a single word.
fn initials(name: &str) -> String {
    let words: Vec<&str> = name.split(['-', '_', ' ']).collect();
    if words.len() < 2 {
        return String::new();
    }
    words
        .iter()
        .filter_map(|word| word.chars().next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let methods = ["raw", "best-of-n", "importance", "beam", "auto", "tts-var"];
        for (typed, meant) in [
            ("bestofn", Some("best-of-n")),
            ("Best-Of-N", Some("best-of-n")),
            ("best_of_n", Some("best-of-n")),
            ("bon", Some("best-of-n")),
            ("best", Some("best-of-n")),
            ("ttsvar", Some("tts-var")),
            ("tts-vra", Some("tts-var")),
            ("importence", Some("importance")),
            ("baem", Some("beam")),
            ("dream", None),
            ("x", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(closest(typed, &methods), meant, "{typed}");
        }
        assert_eq!(
            suggest("rwa", &methods, "expected these"),
            "did you mean `raw`? expected these"
        );
        assert_eq!(suggest("?", &methods, "expected these"), "expected these");
    }
}
