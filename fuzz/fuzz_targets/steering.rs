//! A prompt in the first line, and a steering file. What was read is written and read again, and
//! every region lies in the image.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::{
    options::Steer,
    text::layout::{layout_of_relations, open_layouts},
};

fuzz_target!(|text: &str| {
    let (prompt, file) = text.split_once('\n').unwrap_or((text, ""));
    for layout in layout_of_relations(prompt).into_iter().chain(open_layouts(prompt)) {
        assert!(layout.iter().all(|region| region.is_possible()));
    }
    if let Ok(steer) = Steer::from_text(file) {
        let written = serde_json::to_value(&steer).expect("JSON can express a layout");
        assert_eq!(Steer::from_json(&written).ok(), Some(steer));
    }
});
