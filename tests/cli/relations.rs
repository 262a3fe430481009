//! Searches by relations, with the scenes detector in place of Mask2Former.

use insta::assert_snapshot;
use serde_json::Value;

use crate::desk::Desk;

const NAME: &str = "relation (scenes detector)";

#[test]
fn the_demo_searches_by_relations_with_a_labelled_stand_in() {
    let desk = Desk::new();
    let arguments = [
        "generate",
        "a red circle left of a blue square",
        "--seed",
        "3",
        "--method",
        "best-of-n",
        "--n",
        "4",
        "--scorer",
        "relation",
    ];
    let said = desk.run(&[&arguments[..], &["--out", "a.png", "--json"]].concat());
    let line: Value = serde_json::from_str(&said.out).unwrap();
    let score = line["scores"][NAME].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&score), "{line}");
    assert_eq!(line["settings"]["scorers"], "relation");
    let note = "relation: the scenes detector stands in for its network";
    assert!(said.err.contains(note), "{}", said.err);
    desk.works(&["generate", "--from", "a.png", "--out", "b.png", "-q"]);
    assert_eq!(desk.read("a.png"), desk.read("b.png"));
    let scored = desk.works(&["score", "a.png", "--scorer", "relation", "--json", "-q"]);
    let scored: Value = serde_json::from_str(&scored).unwrap();
    assert_eq!(scored["scores"][NAME], line["scores"][NAME]);
}

#[test]
fn tables_say_that_search_and_evaluation_share_a_detector() {
    let desk = Desk::new();
    let evaluate = |out: &str, scorer: &str| {
        let arguments = [
            "eval",
            "scenes",
            "--methods",
            "best-of-n",
            "--n",
            "2",
            "--prompts",
            "6",
            "--samples",
            "1",
            "--consistency",
            "0",
            "--scorer",
            scorer,
            "--out",
            out,
            "-q",
        ];
        desk.works(&arguments)
    };
    let note = "which is the same kind of network as the evaluator";
    assert!(evaluate("shared", "relation").contains(note));
    assert!(evaluate("mixed", "demo-reward,relation").contains(note));
    assert!(!evaluate("apart", "demo-reward").contains(note));
}

#[test]
fn prompts_without_anything_to_check_are_refused() {
    let desk = Desk::new();
    assert_snapshot!(desk.refuses(&["generate", "a corgi astronaut", "--scorer", "relation", "-q"]), @r#"
    $ generate "a corgi astronaut" --scorer relation -q
    error: the scorer relation finds nothing in the prompt that it can check
    hint: it checks objects that its detector knows, their counts and positions, such as `a dog left of two cats`; for other prompts, choose another scorer
    "#);
}
