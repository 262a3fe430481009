//! The options in the body of an HTTP request, and in the record of an image. Options that were read
//! are written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::options::Options;

fuzz_target!(|text: &str| {
    let Ok(map) = serde_json::from_str(text) else {
        return;
    };
    if let Ok(options) = Options::from_map(&map) {
        let _ = options.check();
        assert_eq!(Options::from_map(&options.to_map()).unwrap().to_map(), options.to_map());
        let _ = options.clone().or(&options);
    }
});
