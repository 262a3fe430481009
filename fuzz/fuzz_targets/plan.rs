//! Plan files. A plan that was read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttsvar_search::Plan;

fuzz_target!(|text: &str| {
    if let Ok(plan) = Plan::from_toml(text) {
        assert_eq!(Plan::from_toml(&plan.to_toml()).as_ref(), Ok(&plan));
        if plan.check(13).is_ok() {
            let (widths, decodes) = (plan.widths(13), plan.decodes(13));
            assert_eq!((widths.len(), decodes.len()), (13, 13));
        }
    }
});
