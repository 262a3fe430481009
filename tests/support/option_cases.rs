//! Sets of options that, together, set every one of them, and what an image must record of each.

use serde_json::{Map, Value};
use ttsvar::{
    options::Options,
    request::{MethodSpec, Recorded},
    search::Drafts,
};

/// The options that the demo refuses, each with a value and a part of the error: it has one size of
/// images, it reads prompts, and its scorer answers no questions.
pub const REFUSED_BY_DEMO: [(&str, &str, &str); 9] = [
    ("pixels", "0.06M", "only generates images of"),
    ("class", "207", "a prompt, not a class"),
    ("questions", "auto", "needs a scorer that answers questions"),
    ("question_mean", "geometric", "no questions"),
    ("more_smooth", "true", "not an option of Infinity"),
    ("decoder_steps", "20", "not an option of Infinity"),
    ("preview_steps", "5", "not an option of Infinity"),
    ("decoder_cfg", "5", "not an option of Infinity"),
    ("as_released", "true", "not an option of Infinity"),
];

/// Sets of options, by name. A new option must be added to one of them.
pub fn cases() -> Vec<Map<String, Value>> {
    let text = include_str!("../data/options/cases.json");
    let cases: Vec<Map<String, Value>> = serde_json::from_str(text).unwrap();
    for name in Options::names() {
        let covered = cases.iter().any(|case| case.contains_key(&name));
        let refused = REFUSED_BY_DEMO.iter().any(|(option, ..)| *option == name);
        assert!(covered || refused, "no case sets {name}");
    }
    cases
}

/// Checks that the record of an image has every option of a case.
pub fn assert_recorded(recorded: &Recorded, case: &Map<String, Value>) {
    const SCALES: usize = 7;
    let given = Options::from_map(case).unwrap();
    let (plan, _) = MethodSpec::plan(&given, SCALES, Drafts::default()).unwrap();
    let found = recorded.options.plan.clone().unwrap();
    let plan = match given.budget {
        // The record has as many rounds as the budget allowed.
        Some(_) => plan.repeated(found.rounds()).unwrap(),
        None => plan,
    };
    assert_eq!(found, plan, "{case:?}");
    let found = recorded.options.to_map();
    // A record has the values of a preset instead of its name.
    for (name, value) in given.with_preset_values().to_map() {
        let in_plan = [
            "plan",
            "features",
            "potential",
            "lambda",
            "draw",
            "verifier",
            "enough",
            "above",
            "finish",
            "budget",
        ];
        if !in_plan.contains(&name.as_str()) {
            assert_eq!(found.get(&name), Some(&value), "{name}");
        }
    }
}
