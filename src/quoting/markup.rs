//! Text inside HTML, XML and SVG.

/// A text with everything replaced that would be read as markup, and every character that XML
/// forbids.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            _ if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            _ => escaped.push(c),
        }
    }
    escaped
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
