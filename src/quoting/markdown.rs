//! Text inside a Markdown document or one of its tables.

use super::terminal;

/// A text without markup: it reads as it is, and cannot end a cell of a table or its row.
pub fn markdown(text: &str) -> String {
    let letters: Vec<char> = terminal::line(text).chars().collect();
    let mut plain = String::with_capacity(letters.len());
    for (i, &c) in letters.iter().enumerate() {
        match c {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '\\' | '`' | '*' | '|' | '[' | ']' | '~' => plain.extend(['\\', c]),
            // An underscore inside a word is no emphasis.
            '_' if !inside_word(&letters, i) => plain.push_str("\\_"),
            _ => plain.push(c),
        }
    }
    plain
}

fn inside_word(letters: &[char], i: usize) -> bool {
    let is_letter = |i: usize| letters.get(i).is_some_and(|c| c.is_alphanumeric());
    i > 0 && is_letter(i - 1) && is_letter(i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_read_as_text() {
        assert_eq!(
            markdown("a|b<script>alert(7)</script>\n| `x` \u{1b}[1m"),
            r"a\|b&lt;script&gt;alert(7)&lt;/script&gt;\\n\| \`x\` \\u{1b}\[1m"
        );
        assert_eq!(
            markdown("single_object _x_ tts-var"),
            r"single_object \_x\_ tts-var"
        );
    }
}
