//! Text inside HTML, XML and SVG.

/// A text with everything replaced that would be read as markup, and every control character.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in without_controls(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A document without control characters, most of which XML forbids and HTML regards as errors.
pub fn without_controls(text: &str) -> String {
    let replace = |c: char| match c {
        '\n' | '\t' => c,
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    text.chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup_or_forbidden() {
        assert_eq!(
            escaped("<a b=\"c\">&'\n"),
            "&lt;a b=&quot;c&quot;&gt;&amp;&#39;\n"
        );
        assert_eq!(
            escaped("a\u{1b}\u{0}\u{fffe}b"),
            "a\u{fffd}\u{fffd}\u{fffd}b"
        );
    }
}
