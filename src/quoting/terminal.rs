//! Text on a terminal: everything that a terminal would obey, hide or reorder becomes a visible
//! escape such as `\u{1b}`.

use std::{fmt::Write, path::Path};

/// Format characters that have no shape of their own, besides the control characters. Variation
/// selectors of emoji (U+FE0E and U+FE0F) stay, because many file names contain them.
const INVISIBLE: [(char, char); 18] = [
    ('\u{ad}', '\u{ad}'),       // soft hyphen
    ('\u{34f}', '\u{34f}'),     // combining grapheme joiner
    ('\u{61c}', '\u{61c}'),     // Arabic letter mark
    ('\u{115f}', '\u{1160}'),   // Hangul fillers
    ('\u{17b4}', '\u{17b5}'),   // Khmer inherent vowels
    ('\u{180b}', '\u{180f}'),   // Mongolian separators
    ('\u{200b}', '\u{200f}'),   // zero width, left-to-right and right-to-left marks
    ('\u{2028}', '\u{202e}'),   // separators of lines and paragraphs, embeddings, overrides
    ('\u{2060}', '\u{206f}'),   // word joiner, invisible operators, isolates
    ('\u{2800}', '\u{2800}'),   // blank Braille pattern
    ('\u{3164}', '\u{3164}'),   // Hangul filler
    ('\u{fe00}', '\u{fe0d}'),   // variation selectors
    ('\u{feff}', '\u{feff}'),   // byte order mark
    ('\u{ffa0}', '\u{ffa0}'),   // half-width Hangul filler
    ('\u{fff0}', '\u{fffb}'),   // annotations
    ('\u{1bca0}', '\u{1bca3}'), // shorthand format controls
    ('\u{1d173}', '\u{1d17a}'), // musical format controls
    ('\u{e0000}', '\u{e0fff}'), // tags and variation selectors
];

/// Returns whether a terminal obeys, hides or reorders a character instead of showing it.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || INVISIBLE
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
}

/// A text of one line: line breaks are escaped as well.
pub fn line(text: &str) -> String {
    escape(text, |c| !is_invisible(c))
}

/// A text whose line breaks and tabs are the program's own.
pub fn lines(text: &str) -> String {
    escape(text, |c| matches!(c, '\n' | '\t') || !is_invisible(c))
}

/// The name of a file. Bytes that are not UTF-8 are shown as `\xff`.
pub fn path(path: impl AsRef<Path>) -> String {
    let mut shown = String::new();
    for chunk in path.as_ref().as_os_str().as_encoded_bytes().utf8_chunks() {
        shown.push_str(&line(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}"); // writing to a string cannot fail
        }
    }
    shown
}

/// JSON in which strings have the escapes of JSON for these characters.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t' | '\r') || !is_invisible(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}"); // writing to a string cannot fail
        }
    }
    escaped
}

fn escape(text: &str, shown: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if shown(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            _ => escaped.extend(c.escape_unicode()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_becomes_visible() {
        let hostile =
            "a\u{1b}[31m\u{7}\u{8}\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}\u{2028}";
        let shown = "a\\u{1b}[31m\\u{7}\\u{8}\\u{7f}\\u{9b}2J\\u{202e}\\u{2066}\\u{200b}\\u{feff}\
                     \\u{e0041}\\u{2028}";
        assert_eq!(line(hostile), shown);
        assert_eq!(lines(hostile), shown);
        assert_eq!(line("a\r\n\tb"), "a\\r\\n\\tb");
        assert_eq!(lines("a\r\n\tb"), "a\\r\n\tb");
    }

    #[test]
    fn words_of_all_languages_stay() {
        let words = "größer नमस्ते 日本語 العربية e\u{301} ❤\u{fe0f} a\u{a0}b";
        assert_eq!(line(words), words);
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({ "a\u{202e}": "\u{1b}\u{9b}\u{e0041}\n" });
        let escaped = json(&value.to_string());
        assert!(escaped.is_ascii(), "{escaped}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).unwrap(),
            value
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf_8_are_shown() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let name = OsStr::from_bytes(b"a\xff\x1bb.png");
        assert_eq!(path(name), "a\\xff\\u{1b}b.png");
    }
}
