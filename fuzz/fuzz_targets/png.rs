//! PNG images and the records in their texts. What was read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::{image::Png, report::provenance::Provenance};

fuzz_target!(|bytes: &[u8]| {
    let Ok(png) = Png::decode(bytes) else { return };
    if let Ok(Some(record)) = Provenance::read(&png) {
        let again = Provenance::read(&record.beside(png.image.clone()))
            .unwrap()
            .unwrap();
        assert_eq!(again.texts(), record.texts());
    }
    if let Ok(bytes) = png.encode() {
        let again = Png::decode(&bytes).unwrap();
        assert_eq!(again.image.pixels(), png.image.pixels());
    }
});
