//! Names of fields: suggestions for unknown ones, and messages that speak of fields where the
//! command line has flags.

use ttsvar_search::suggestion::closest;

use crate::options::Options;

/// Names that other programs have for our fields.
const ELSEWHERE: [(&str, &str); 12] = [
    ("guidance", "cfg"),
    ("guidance_scale", "cfg"),
    ("cfg_scale", "cfg"),
    ("temperature", "tau"),
    ("num_images", "n"),
    ("num_images_per_prompt", "n"),
    ("batch_size", "n"),
    ("width", "size"),
    ("height", "size"),
    ("aspect_ratio", "aspect"),
    ("resolution", "size"),
    ("scheduler", "schedule"),
];

/// A suggestion for an unknown name.
pub(super) fn suggestion<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<String> {
    let plain = name.to_lowercase().replace('-', "_");
    let elsewhere = ELSEWHERE
        .iter()
        .find(|(other, ours)| *other == plain && known.clone().any(|known| known == *ours));
    let found = elsewhere.map(|(_, ours)| *ours).or_else(|| {
        let known: Vec<&str> = known.collect();
        closest(name, &known)
    });
    found.map(|found| format!("did you mean `{found}`?"))
}

/// A message in which fields replace the flags of the command line: `--top-p` becomes `top_p`.
pub(super) fn without_flags(text: &str) -> String {
    let mut text = text.to_owned();
    for name in Options::names() {
        let dashed = name.replace('_', "-");
        for flag in [format!("--{dashed}"), format!("--{name}")] {
            text = replace_word(&text, &flag, &name);
        }
        if dashed != name {
            text = replace_word(&text, &dashed, &name);
        }
    }
    text
}

/// A hint in the words of HTTP. `None` for remedies that only the command line has.
pub(super) fn remedy_over_http(hint: &str) -> Option<String> {
    let hint = without_flags(hint);
    let of_command_line = hint.contains("--") || hint.contains("`ttsvar ");
    (!of_command_line).then_some(hint)
}

/// Replaces a word that no letter, digit or hyphen precedes or follows.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let inside = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let after = &found[word.len()..];
        let whole = !before.ends_with(inside) && !after.starts_with(inside);
        replaced += before;
        replaced += if whole { by } else { word };
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_and_foreign_names_are_recognized() {
        let known = ["seed", "cfg", "size", "negative", "method", "top_p"];
        let suggested = |name| suggestion(name, known.into_iter());
        for (name, meant) in [
            ("seeed", "seed"),
            ("Seed", "seed"),
            ("guidance_scale", "cfg"),
            ("width", "size"),
            ("metod", "method"),
            ("top-p", "top_p"),
        ] {
            assert_eq!(suggested(name), Some(format!("did you mean `{meant}`?")));
        }
        assert_eq!(suggested("frobnicate"), None);
    }

    #[test]
    fn flags_become_fields() {
        assert_eq!(
            without_flags("--schedule is an option of method tts-var, not top-p or --cfg-layer"),
            "schedule is an option of method tts-var, not top_p or cfg_layer"
        );
        assert_eq!(
            remedy_over_http("leave --enough out, or choose --method auto").as_deref(),
            Some("leave enough out, or choose method auto")
        );
        assert_eq!(remedy_over_http("look with `ttsvar plan METHOD`"), None);
        assert_eq!(remedy_over_http("give --weights DIR"), None);
    }
}
