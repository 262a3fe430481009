//! Tokenizers and other texts of bundles: damaged ones are refused, never a panic.

use std::{fs, path::Path};

use serde_json::{Value, json};
use ttsvar::{
    Result,
    hub::Blob,
    text::{ClipTokenizer, T5Tokenizer, WordPieceTokenizer},
};

use crate::support::golden;

/// Opens a file as each kind of tokenizer, and encodes a prompt where that works.
fn open_all(path: &Path) -> Vec<Result<()>> {
    let blob = Blob::Disk(path.to_owned());
    vec![
        T5Tokenizer::open(&blob).and_then(|open| open.encode("a red circle").map(drop)),
        ClipTokenizer::open(&blob).and_then(|open| open.encode("a red circle").map(drop)),
        ClipTokenizer::open_clip(&blob).and_then(|open| open.encode("a red circle").map(drop)),
        WordPieceTokenizer::open(&blob).and_then(|open| open.encode("a red circle", 9).map(drop)),
    ]
}

fn write(folder: &Path, text: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = folder.join("tokenizer.json");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_tokenizer_that_is_cut_is_refused_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(golden("t5-tiny").join("tokenizer.json")).unwrap();
    assert!(open_all(&write(folder.path(), &whole))[0].is_ok());
    for end in (0..whole.len() - 1).step_by(whole.len() / 60) {
        let path = write(folder.path(), &whole[..end]);
        for outcome in open_all(&path) {
            let error = outcome.unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains("tokenizer.json") && error.hint().is_some(),
                "{text}"
            );
        }
    }
}

#[test]
fn damaged_parts_are_refused_even_where_the_library_panics() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(golden("t5-tiny").join("tokenizer.json")).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let damaged = |part: &str, value: Value| {
        let mut tokenizer = whole.clone();
        tokenizer[part] = value;
        write(folder.path(), tokenizer.to_string())
    };
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</t>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {},
    });
    let paths = [
        (
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "=AAA!"}),
        ),
        (
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAAAAA"}),
        ),
        ("post_processor", template),
        (
            "model",
            json!({"type": "Unigram", "unk_id": 99, "vocab": [["a", 0.0]]}),
        ),
        ("model", json!(null)),
    ];
    for (part, value) in paths {
        let path = damaged(part, value);
        let outcome = T5Tokenizer::open(&Blob::Disk(path));
        let error = outcome
            .err()
            .unwrap_or_else(|| panic!("{part} was accepted"));
        let text = error.to_string();
        assert!(text.contains("not a tokenizer, or a damaged one"), "{text}");
        assert!(error.hint().is_some() && !text.contains('\n'), "{text}");
    }
    // The decoder is not used, so that it may be anything.
    let path = damaged("decoder", json!({"type": "Nothing"}));
    T5Tokenizer::open(&Blob::Disk(path)).unwrap();
}

#[test]
fn texts_of_bundles_may_have_a_mark_and_any_line_ends() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = fs::read_to_string(golden("imagereward-tiny").join("vocab.txt")).unwrap();
    let encoded = |text: String| {
        let path = write(folder.path(), text);
        let tokenizer = WordPieceTokenizer::open(&Blob::Disk(path)).unwrap();
        tokenizer.encode("a red circle", 9).unwrap()
    };
    let plain = encoded(vocabulary.clone());
    assert_eq!(encoded(format!("\u{feff}{vocabulary}")), plain);
    assert_eq!(encoded(vocabulary.replace('\n', "\r\n")), plain);
    assert_eq!(encoded(vocabulary.replace('\n', "\r")), plain);
    let wide: Vec<u8> = vocabulary
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let path = write(folder.path(), wide);
    let error = WordPieceTokenizer::open(&Blob::Disk(path.clone()))
        .err()
        .unwrap();
    assert!(error.to_string().contains("found UTF-16LE"), "{error}");
    assert!(error.hint().unwrap().contains("iconv -f UTF-16LE -t UTF-8"));
    let config = Blob::Disk(path);
    fs::write(config.path(), "\u{feff}{\"a\": 1}\r\n").unwrap();
    assert_eq!(config.json::<Value>().unwrap(), json!({"a": 1}));
}
