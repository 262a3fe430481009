//! Text files in any encoding. What was read is UTF-8 with `\n`, and reads as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::file::decode_text;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = decode_text("text", bytes.to_vec()) {
        assert!(!text.contains(['\0', '\r']));
        if !text.starts_with('\u{feff}') {
            assert_eq!(decode_text("text", text.clone().into_bytes()).unwrap(), text);
        }
    }
});
