//! `ttsvar eval`: what comes out, and that nothing that was judged is lost.

use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::desk::Desk;

const SMALL: [&str; 10] = [
    "eval",
    "scenes",
    "--prompts",
    "6",
    "--samples",
    "2",
    "--methods",
    "raw,best-of-n,tts-var",
    "--consistency",
    "2",
];

fn results(desk: &Desk, more: &[&str]) -> Value {
    let said = desk.run(&[&SMALL[..], &["--n", "1", "--json", "--quiet"], more].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let mut results: Value = serde_json::from_str(&said.out).unwrap();
    for row in results["methods"].as_array_mut().unwrap() {
        row["cost"]
            .as_object_mut()
            .unwrap()
            .remove("seconds")
            .unwrap();
    }
    results
}

#[test]
fn results_come_as_json_tables_and_pictures() {
    let desk = Desk::new();
    let found = results(&desk, &["--out", "a", "--images"]);
    let rows = found["methods"].as_array().unwrap();
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["method"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["raw", "best-of-n", "tts-var"]);
    for row in rows {
        let overall = row["overall"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&overall) && row["tasks"].as_object().unwrap().len() == 6);
        assert!(
            row["interval"][0].as_f64().unwrap() <= overall
                && overall <= row["interval"][1].as_f64().unwrap()
        );
        assert!(row["cost"]["flops"].as_f64().unwrap() > 1e8);
    }
    assert_eq!(
        (
            rows[0]["cost"]["decodes"].as_f64(),
            rows[2]["cost"]["decodes"].as_f64()
        ),
        (Some(1.0), Some(21.0))
    );
    assert_eq!(rows[0]["overall"], rows[1]["overall"]); // the best of one
    assert_eq!(
        found["consistency"].as_array().unwrap().last().unwrap()["within_prompts"].as_f64(),
        Some(1.0)
    );
    let files = desk.files();
    for name in [
        "records.jsonl",
        "setup.json",
        "summary.json",
        "table.md",
        "sheet.png",
        "accuracy-by-cost.svg",
        "consistency.png",
    ] {
        assert!(
            files.contains(&format!("a/{name}")),
            "{name} is missing: {files:?}"
        );
    }
    assert_eq!(
        files
            .iter()
            .filter(|file| file.starts_with("a/images/"))
            .count(),
        6 * 2 * 3
    );
    assert_eq!(desk.text("a/records.jsonl").lines().count(), 6 * 2 * 3);
}

#[test]
fn killed_and_resumed_it_gives_the_same_table() {
    let desk = Desk::new();
    let whole = results(&desk, &["--out", "whole"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttsvar"));
    command
        .args(SMALL)
        .args(["--n", "1", "--out", "part"])
        .current_dir(desk.path(""));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        sleep(Duration::from_millis(20));
        if desk.files().contains(&"part/records.jsonl".to_owned())
            && desk.text("part/records.jsonl").lines().count() >= 4
        {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let known = desk.text("part/records.jsonl").lines().count();
    assert!(known >= 4, "{known}");
    let other = desk.run(
        &[
            &SMALL[..],
            &["--n", "1", "--out", "part", "--resume", "--dtype", "bf16"],
        ]
        .concat(),
    );
    assert!(
        other.code == Some(2) && other.err.contains("another model or its settings"),
        "{other:?}"
    );
    assert_eq!(results(&desk, &["--out", "part", "--resume"]), whole);
    assert_eq!(desk.text("part/records.jsonl").lines().count(), 6 * 2 * 3);
}

#[test]
fn experiments_fill_their_place_in_a_page() {
    let desk = Desk::new();
    desk.write(
        "page.md",
        "# Page\n\n<!-- table: two -->\nold\n<!-- end -->\n\nend\n",
    );
    let contender =
        |name: &str| format!("[[contender]]\nname = \"{name}\"\nmethod = \"best-of-n\"\nn = 2\n");
    let file = format!(
        "title = \"Two\"\nprompts = 6\nsamples = 1\n{}{}",
        contender("one"),
        contender("other")
    );
    desk.write("two.toml", file);
    let run = [
        "eval",
        "scenes",
        "--experiments",
        "two.toml",
        "--page",
        "page.md",
        "--out",
        "e",
        "--quiet",
    ];
    let first = desk.works(&run);
    let page = desk.text("page.md");
    assert!(
        page.starts_with("# Page\n\n<!-- table: two -->\n")
            && page.ends_with("<!-- end -->\n\nend\n"),
        "{page}"
    );
    assert!(
        page.contains("| one | 2 |") && !page.contains("old"),
        "{page}"
    );
    assert!(first.starts_with("Two (6 prompts, 1 sample each)"));
    let again = [&run[..run.len() - 3], &["--out", "f", "--quiet"]].concat();
    desk.works(&again);
    assert_eq!(
        desk.text("page.md"),
        page,
        "the same experiment gives the same table"
    );
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let desk = Desk::new();
    desk.write(
        "bad.toml",
        "title = \"x\"\nprompts = 6\nsamples = 1\n[[contender]]\nn = 1\n",
    );
    let refused: String = [
        &["eval", "scenes", "--methods", "best"][..],
        &["eval", "scenes", "--n", "0"],
        &["eval", "scenes", "--n", "2,2", "--methods", "best-of-n"],
        &["eval", "scenes", "--prompts", "0"],
        &["eval", "scenes", "--samples", "0"],
        &["eval", "scenes", "--split", "train"],
        &["eval", "scenes", "--experiments", "none.toml"],
        &["eval", "scenes", "--experiments", "bad.toml"],
    ]
    .into_iter()
    .map(|arguments| desk.refuses(arguments))
    .collect();
    insta::assert_snapshot!(refused, @r#"
    $ eval scenes --methods best
    error: unknown method `best`
    hint: did you mean `best-of-n`? expected one of `raw`, `best-of-n`, `importance`, `beam`, `auto`, `tts-var`
    $ eval scenes --n 0
    error: N: 0 rows, but a search needs at least 1
    hint: choose 1 or more
    $ eval scenes --n 2,2 --methods best-of-n
    error: `best-of-n, N = 2` is given twice
    hint: give every method and every N once
    $ eval scenes --prompts 0
    error: expected 1 to 100000 prompts, found 0
    hint: 300 prompts tell methods apart
    $ eval scenes --samples 0
    error: --samples is 0, but every prompt needs at least 1 sample
    hint: choose 4 to tell methods apart
    $ eval scenes --split train
    error: unknown split `train`
    hint: expected `test` or `tuning`
    $ eval scenes --experiments none.toml
    error: none.toml: No such file or directory (os error 2)
    hint: check that the path exists and that you may read or write it
    $ eval scenes --experiments bad.toml
    error: bad.toml: a contender needs either a `method` or a `plan`
    hint: see the files in `experiments/`
    "#);
}
