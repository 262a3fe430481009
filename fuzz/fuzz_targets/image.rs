//! Image files of every format that is read, recognised by content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::image::{MAX_PIXELS, open};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = open(ttsvar_fuzz::file("image", bytes)) {
        assert!(image.width() * image.height() <= MAX_PIXELS);
        assert_eq!(image.pixels().len(), 3 * image.width() * image.height());
    }
});
