//! Words of a command line that a POSIX shell reads back.

use std::{ffi::OsStr, fmt::Write, path::Path};

use super::terminal::is_invisible;

/// A word. What a terminal would not show is written in the form `$'\033'`, which POSIX has had
/// since 2024 and common shells for longer.
pub fn argument(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if !text.contains(is_invisible) => shell_words::quote(text).into_owned(),
        _ => dollar_quoted(word.as_encoded_bytes()),
    }
}

/// The name of a file as a word that cannot be mistaken for a flag.
pub fn file_argument(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    if path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        return argument(Path::new(".").join(path));
    }
    argument(path)
}

fn dollar_quoted(bytes: &[u8]) -> String {
    let mut quoted = "$'".to_owned();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => quoted.extend(['\\', c]),
                _ if is_invisible(c) => octal(&mut quoted, c.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => quoted.push(c),
            }
        }
        octal(&mut quoted, chunk.invalid());
    }
    quoted + "'"
}

/// Bytes with three octal digits each, so that a digit behind them is not read with them.
fn octal(quoted: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(quoted, "\\{byte:03o}"); // writing to a string cannot fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, quoted) in [
            ("16:9", "16:9"),
            ("", "''"),
            ("it's a $(rm) `x`", r"'it'\''s a $(rm) `x`'"),
            ("a\u{1b}[1m'\\\n", r"$'a\033[1m\'\\\012'"),
            ("\u{202e}7", r"$'\342\200\2567'"),
        ] {
            assert_eq!(argument(word), quoted);
        }
    }

    #[test]
    fn a_file_is_not_a_flag() {
        assert_eq!(file_argument("-rf x.png"), "'./-rf x.png'");
        assert_eq!(file_argument("a.png"), "a.png");
    }
}
