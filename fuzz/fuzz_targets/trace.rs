//! Traces, and what the reports make of them. A trace that was read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar::report::provenance::Provenance;
use ttsvar_search::Trace;

fuzz_target!(|text: &str| {
    if let Ok(trace) = Trace::from_json(text) {
        let json = trace.to_json();
        assert_eq!(Trace::from_json(&json).unwrap().to_json(), json);
        for id in 0..trace.candidates.len() {
            trace.parts_of(id);
        }
        let _ = Provenance::from_trace(&trace).texts();
    }
});
