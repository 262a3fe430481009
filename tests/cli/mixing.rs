//! Searches by several scorers, typed.

use serde_json::Value;

use crate::{desk::Desk, scoring::downloads};

#[test]
fn a_mix_of_scorers_searches_records_itself_and_is_repeated() {
    let desk = Desk::new();
    downloads(&desk);
    let mix = "image-reward=1,hps=2,clip=.5,aesthetic=1";
    let arguments = [
        "generate",
        "a red circle",
        "--seed",
        "3",
        "--scorer",
        mix,
        "--weights",
        "downloads",
    ];
    let out = desk.works(
        &[
            &arguments[..],
            &["--out", "a.png", "--trace", "a.json", "--json"],
        ]
        .concat(),
    );
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        line["settings"]["scorers"],
        "image-reward=1,hps=2,clip=0.5,aesthetic=1"
    );
    let names: Vec<&String> = line["scores"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["image-reward", "hps", "clip", "aesthetic"]);
    let trace: Value = serde_json::from_str(&desk.text("a.json")).unwrap();
    assert_eq!(trace["scorers"].as_array().unwrap().len(), 4);
    assert!(
        trace["scorers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["taken"]["deviation"].as_f64().unwrap() > 0.0)
    );
    // What each scorer said of the winner is what it says of the file.
    let scored = desk.works(&[
        "score",
        "a.png",
        "--scorer",
        "hps,clip,aesthetic",
        "--weights",
        "downloads",
        "--json",
    ]);
    let scored: Value = serde_json::from_str(&scored).unwrap();
    for name in ["hps", "clip", "aesthetic"] {
        assert_eq!(scored["scores"][name], line["scores"][name], "{name}");
    }
    let words = desk.works(&[&arguments[..], &["--out", "b.png"]].concat());
    assert!(
        words.contains(" (image-reward ") && words.contains(", aesthetic "),
        "{words}"
    );
    desk.works(&[
        "generate",
        "--from",
        "a.png",
        "--weights",
        "downloads",
        "--out",
        "c.png",
        "-q",
    ]);
    assert_eq!(desk.read("c.png"), desk.read("a.png"));
    let inspected = desk.works(&["inspect", "a.png"]);
    assert!(
        inspected.contains("scorers image-reward=1,hps=2,clip=0.5,aesthetic=1"),
        "{inspected}"
    );
}

#[test]
fn an_evaluation_may_be_searched_by_another_scorer() {
    let desk = Desk::new();
    downloads(&desk);
    let evaluate = |out: &str, more: &[&str]| {
        let arguments = [
            "eval",
            "scenes",
            "--methods",
            "raw,best-of-n",
            "--n",
            "2",
            "--prompts",
            "6",
            "--samples",
            "1",
        ];
        let given = [
            "--consistency",
            "1",
            "--weights",
            "downloads",
            "--json",
            "-q",
            "--out",
            out,
        ];
        desk.run(&[&arguments[..], &given, more].concat())
    };
    let mixed = evaluate("mixed", &["--scorer", "image-reward=1,clip=1"]);
    assert_eq!(mixed.code, Some(0), "{mixed:?}");
    let found: Value = serde_json::from_str(&mixed.out).unwrap();
    assert_eq!(found["methods"].as_array().unwrap().len(), 2);
    let other = evaluate("mixed", &["--resume", "--scorer", "clip"]);
    assert_eq!(
        other.code,
        Some(2),
        "another scorer is another evaluation: {other:?}"
    );
}

#[test]
fn mixes_that_cannot_be_are_refused() {
    let desk = Desk::new();
    let refused: String = [
        vec![
            "generate",
            "a red circle",
            "--scorer",
            "image-reward=1,clip",
        ],
        vec!["generate", "a red circle", "--scorer", "image-reward=0"],
        vec!["score", "a.png", "--scorer", "image-reward=2,clip=1"],
        vec!["plan", "--scales", "7", "--scorer", "clip"],
    ]
    .iter()
    .map(|arguments| desk.refuses(arguments))
    .collect();
    insta::assert_snapshot!(refused, @r#"
    $ generate "a red circle" --scorer image-reward=1,clip
    error: `demo` has no scorer `clip`; it has `image-reward`
    hint: give the folder with the released one: `--weights DIR`; `ttsvar models fetch clip` downloads clip-vit-large-patch14 (about 1.7 GB)
    $ generate "a red circle" --scorer image-reward=0
    error: `image-reward=0`: a weight is a number above 0, not `0`
    hint: for example image-reward=1,hps=2
    $ score a.png --scorer image-reward=2,clip=1
    error: `image-reward=2`: images get the score of each scorer, not a mix
    hint: leave the weights out; `ttsvar generate` searches with mixes
    $ plan --scales 7 --scorer clip
    error: the argument '--scales <COUNT>' cannot be used with '--scorer <SCORERS>'
    hint: `ttsvar help plan` lists what can be given
    "#);
    downloads(&desk);
    let said = desk.refuses(&[
        "generate",
        "a red circle",
        "--method",
        "auto",
        "--n",
        "4",
        "--weights",
        "downloads",
        "--scorer",
        "image-reward,clip",
    ]);
    assert!(
        said.contains("cannot be used with a method that generates in rounds"),
        "{said}"
    );
}
