//! Text files as people save them: with or without a byte-order mark, with any line ends. Whatever
//! is not UTF-8 text is rejected with its place and the remedy.

use std::{borrow::Cow, fs, io::Read, path::Path};

use serde::de::DeserializeOwned;

use crate::{Error, Result, input};

/// Bytes of a text that are read at most. The largest text in use, a tokenizer, has 40 MB.
pub const MOST_BYTES: u64 = 256 << 20;

/// Reads a text file, as [`decode_text`].
///
/// # Errors
/// The file cannot be read, has more than [`MOST_BYTES`] bytes, or is not text.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let io = Error::io(path);
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => return Err(io(error)),
    };
    if about.is_dir() {
        return Err(Error::file(path, "expected a text file, found a folder")
            .with_hint("name a file in it"));
    }
    let mut bytes = vec![];
    input::open(path)?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io(path))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::file(
            path,
            format!(
                "expected a text of at most {} MiB, found more",
                MOST_BYTES >> 20
            ),
        ));
    }
    decode_text(path, bytes)
}

/// Reads a value from the text of a TOML file.
///
/// # Errors
/// It is not TOML, or does not describe such a value; the error names the line.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Error::input(format!("line {line}: {message}"))
    })
}

/// The text in the bytes of a file: UTF-8, without its byte-order mark, and with `\n` for `\r\n`
/// and `\r`.
///
/// # Errors
/// It is UTF-16 or UTF-32, has a NUL, or is not UTF-8; the error names the line and the byte in it.
pub fn decode_text(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<String> {
    let name = name.as_ref();
    if let Some(encoding) = other_encoding(&bytes) {
        return Err(
            Error::file(name, format!("expected UTF-8 text, found {encoding}")).with_hint(format!(
                "save it as UTF-8, or convert it: iconv -f {encoding} -t UTF-8 FILE > NEW"
            )),
        );
    }
    let start = if bytes.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    let content = &bytes[start..];
    let wrong = |at: usize, what: &str| {
        let before = &content[..at];
        let line_start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let column = at - line_start + 1;
        Error::file(name, format!("line {line}, byte {column}: {what}"))
    };
    if let Some(at) = content.iter().position(|&byte| byte == 0) {
        return Err(wrong(at, "expected text, found a NUL")
            .with_hint("this looks like a binary file; give a text file in UTF-8"));
    }
    match std::str::from_utf8(content) {
        Ok(text) => Ok(unix_lines(text).into_owned()),
        Err(error) => {
            let at = error.valid_up_to();
            let found = format!("expected UTF-8 text, found the byte 0x{:02x}", content[at]);
            Err(wrong(at, &found).with_hint(
                "save the file as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8 FILE > NEW",
            ))
        }
    }
}

fn unix_lines(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n").into()
    } else {
        text.into()
    }
}

/// The encoding of a text that is not UTF-8, by its byte-order mark or by where its NULs are.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    const MARKS: [(&[u8], &str); 4] = [
        (b"\xff\xfe\0\0", "UTF-32LE"), // before UTF-16, whose mark is its beginning
        (b"\0\0\xfe\xff", "UTF-32BE"),
        (b"\xff\xfe", "UTF-16LE"),
        (b"\xfe\xff", "UTF-16BE"),
    ];
    if let Some((_, name)) = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Some(name);
    }
    // In text of mostly Latin letters, the upper bytes are 0.
    let start = &bytes[..bytes.len().min(4096) & !3];
    let mut nuls = [0; 4];
    for (i, _) in start.iter().enumerate().filter(|(_, byte)| **byte == 0) {
        nuls[i % 4] += 1;
    }
    let most = start.len() / 4;
    let is = |at: usize| most > 0 && nuls[at] * 10 >= most * 7;
    match [is(0), is(1), is(2), is(3)] {
        [false, true, true, true] => Some("UTF-32LE"),
        [true, true, true, false] => Some("UTF-32BE"),
        [false, true, false, true] => Some("UTF-16LE"),
        [true, false, true, false] => Some("UTF-16BE"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<String> {
        decode_text("a.txt", bytes.to_vec())
    }

    fn refused(bytes: &[u8]) -> String {
        let error = decoded(bytes).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    }

    #[test]
    fn marks_and_line_ends_of_all_systems_are_read() {
        for text in [
            "a\nb é\n",
            "\u{feff}a\nb é\n",
            "a\r\nb é\r\n",
            "a\rb é\r",
            "\u{feff}a\r\nb é\r",
        ] {
            assert_eq!(decoded(text.as_bytes()).unwrap(), "a\nb é\n");
        }
        assert_eq!(decoded(b"").unwrap(), "");
        assert_eq!(decoded("\u{feff}".as_bytes()).unwrap(), "");
    }

    #[test]
    fn other_encodings_are_named() {
        let text = "a red circle\n";
        let utf_16 = |mark: &[u8], units: fn(u16) -> [u8; 2]| {
            let mut bytes = mark.to_vec();
            bytes.extend(text.encode_utf16().flat_map(units));
            bytes
        };
        let utf_32 = |mark: &[u8], units: fn(u32) -> [u8; 4]| {
            let mut bytes = mark.to_vec();
            bytes.extend(text.chars().map(u32::from).flat_map(units));
            bytes
        };
        let cases = [
            (utf_16(b"\xff\xfe", u16::to_le_bytes), "UTF-16LE"),
            (utf_16(b"\xfe\xff", u16::to_be_bytes), "UTF-16BE"),
            (utf_16(b"", u16::to_le_bytes), "UTF-16LE"),
            (utf_16(b"", u16::to_be_bytes), "UTF-16BE"),
            (utf_32(b"\xff\xfe\0\0", u32::to_le_bytes), "UTF-32LE"),
            (utf_32(b"\0\0\xfe\xff", u32::to_be_bytes), "UTF-32BE"),
            (utf_32(b"", u32::to_le_bytes), "UTF-32LE"),
            (utf_32(b"", u32::to_be_bytes), "UTF-32BE"),
        ];
        for (bytes, name) in cases {
            let expected = format!("a.txt: expected UTF-8 text, found {name}");
            assert_eq!(refused(&bytes), expected);
        }
    }

    #[test]
    fn the_place_of_a_wrong_byte_is_named() {
        assert_eq!(
            refused(b"one\ntwo \xe9\n"),
            "a.txt: line 2, byte 5: expected UTF-8 text, found the byte 0xe9"
        );
        assert_eq!(
            refused(b"one\0"),
            "a.txt: line 1, byte 4: expected text, found a NUL"
        );
        let mut binary = b"\x80\x02}q\0".to_vec();
        binary.extend([0; 40]);
        assert!(refused(&binary).contains("a NUL"));
        // Cut in the middle of a character
        assert!(refused(&"é".as_bytes()[..1]).contains("byte 1"));
    }

    #[test]
    fn folders_and_missing_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_text(folder.path()).unwrap_err().to_string();
        assert!(error.contains("found a folder"), "{error}");
        assert!(matches!(
            read_text(folder.path().join("none")),
            Err(Error::Io { .. })
        ));
    }
}
