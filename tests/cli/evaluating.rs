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
fn searches_are_priced_by_cost_models() {
    let desk = Desk::new();
    let small = [
        "eval",
        "scenes",
        "--prompts",
        "6",
        "--samples",
        "1",
        "--consistency",
        "0",
    ];
    let methods = [
        "--methods",
        "raw,best-of-n,draft",
        "--n",
        "4",
        "--json",
        "-q",
        "--out",
        "e",
    ];
    let run = |more: &[&str]| -> Value {
        let out = desk.works(&[&small[..], &methods, more].concat());
        serde_json::from_str(&out).unwrap()
    };
    let found = run(&[]);
    assert_eq!(
        found["cost_models"],
        serde_json::json!(["demo", "infinity-2b"])
    );
    let price = |found: &Value, row: usize, model: usize| {
        found["methods"][row]["model_costs"][model]["raw_images"]
            .as_f64()
            .unwrap()
    };
    assert!((price(&found, 0, 0) - 1.0).abs() < 1e-9 && (price(&found, 0, 1) - 1.0).abs() < 1e-9);
    // Four drafts, scored by their latents, one of which finishes.
    let [demo, infinity] = [0, 1].map(|model| price(&found, 2, model));
    assert!((1.2..2.0).contains(&demo), "{demo}");
    assert!((1.0..demo).contains(&infinity), "{infinity}");
    for name in [
        "accuracy-by-cost-demo.svg",
        "accuracy-by-cost-infinity-2b.png",
    ] {
        assert!(desk.path("e").join(name).exists(), "{name}");
    }
    // Records hold what any other cost model needs, whenever it is wanted.
    let own = "unit = 's'\nprompt = 0\ntransformer = 0\nshares = [1]\nunfinished_decode = 0\n\
        final_decode = 1\nscoring = 0\nverification = 2\nextraction = 0\n";
    desk.write("decodes only.toml", own);
    let again = run(&["--resume", "--cost-model", "decodes only.toml"]);
    assert_eq!(again["cost_models"], serde_json::json!(["decodes only"]));
    assert_eq!([0, 1, 2].map(|row| price(&again, row, 0)), [1.0, 4.0, 9.0]);
    assert!(desk.path("e/accuracy-by-cost-decodes-only.svg").exists());
    assert!(
        desk.text("e/table.md")
            .contains("| raw images (decodes only) |")
    );
    // Lines of earlier versions have no counts.
    let line = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("counts").unwrap();
        format!("{record}\n")
    };
    let old: String = desk.text("e/records.jsonl").lines().map(line).collect();
    desk.write("e/records.jsonl", old);
    let old = run(&["--resume"]);
    assert_eq!(
        old["methods"][2]["model_costs"][0]["raw_images"],
        Value::Null
    );
    assert_eq!(old["methods"][2]["overall"], found["methods"][2]["overall"]);
}

#[test]
fn cost_models_that_cannot_be_are_refused() {
    let desk = Desk::new();
    let good = "unit = 's'\nprompt = 0\ntransformer = 1\nshares = [1]\nunfinished_decode = 2\n\
        final_decode = 1\nscoring = 0\nverification = 0\nextraction = 0\n";
    desk.write("negative.toml", good.replace("scoring = 0", "scoring = -1"));
    desk.write("nan.toml", good.replace("prompt = 0", "prompt = nan"));
    desk.write("scales.toml", good.replace("[1]", "[0.5, 0.25]"));
    desk.write("key.toml", format!("{good}decode = 1\n"));
    desk.write("demo.toml", good);
    let refused: String = [
        &["infinity"][..],
        &["none.toml"],
        &["negative.toml"],
        &["nan.toml"],
        &["scales.toml"],
        &["key.toml"],
        &["demo", "demo.toml"],
    ]
    .iter()
    .map(|names| {
        let flags = names.iter().flat_map(|name| ["--cost-model", name]);
        let arguments: Vec<&str> = ["eval", "scenes"].into_iter().chain(flags).collect();
        desk.refuses(&arguments)
    })
    .collect();
    insta::assert_snapshot!(refused, @r#"
    $ eval scenes --cost-model infinity
    error: unknown cost model `infinity`
    hint: did you mean `infinity-2b`? expected `demo`, `infinity-2b`, or a .toml file
    $ eval scenes --cost-model none.toml
    error: none.toml: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it
    $ eval scenes --cost-model negative.toml
    error: negative.toml: line 7: expected a number from 0 to 1e30, found -1
    hint: docs/command-line.md describes the file; it must give a price for every part
    $ eval scenes --cost-model nan.toml
    error: nan.toml: line 2: expected a number from 0 to 1e30, found NaN
    hint: docs/command-line.md describes the file; it must give a price for every part
    $ eval scenes --cost-model scales.toml
    error: scales.toml: line 4: the shares of all scales must add up to 1, but these 2 add up to 0.7500
    hint: docs/command-line.md describes the file; it must give a price for every part
    $ eval scenes --cost-model key.toml
    error: key.toml: line 10: unknown field `decode`, expected one of `unit`, `prompt`, `transformer`, `shares`, `unfinished_decode`, `final_decode`, `scoring`, `verification`, `extraction`
    hint: docs/command-line.md describes the file; it must give a price for every part
    $ eval scenes --cost-model demo --cost-model demo.toml
    error: two cost models are called `demo`
    hint: tables identify them by the names of their files; rename one
    "#);
    assert!(!desk.path("eval-scenes").exists());
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
        other.code == Some(2) && other.err.contains("a different model or its settings"),
        "{other:?}"
    );
    assert_eq!(results(&desk, &["--out", "part", "--resume"]), whole);
    assert_eq!(desk.text("part/records.jsonl").lines().count(), 6 * 2 * 3);
}

#[test]
fn an_evaluation_that_does_not_exist_is_not_resumed() {
    let desk = Desk::new();
    let refused = desk.refuses(&["eval", "scenes", "--resume", "--out", "none"]);
    assert!(
        refused.ends_with(
            "error: none: no evaluation to resume\nhint: leave --resume out to start one\n"
        ),
        "{refused}"
    );
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
    desk.write("page.md", "# Page\n");
    desk.write(
        "good.toml",
        "title = \"x\"\nprompts = 6\nsamples = 1\n[[contender]]\nmethod = \"raw\"\nn = 1\n",
    );
    desk.write(
        "sizeless.toml",
        "title = \"x\"\nprompts = 6\nsamples = 1\n[[contender]]\nmethod = \"raw\"\n",
    );
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
        &["eval", "scenes", "--experiments", "sizeless.toml"],
        &["eval", "scenes", "--experiments", "good.toml", "bad.toml"],
        &[
            "eval",
            "scenes",
            "--experiments",
            "good.toml",
            "--page",
            "none.md",
        ],
        &[
            "eval",
            "scenes",
            "--experiments",
            "good.toml",
            "--page",
            "page.md",
        ],
    ]
    .into_iter()
    .map(|arguments| desk.refuses(arguments))
    .collect();
    insta::assert_snapshot!(refused, @r#"
    $ eval scenes --methods best
    error: unknown method `best`
    hint: did you mean `best-of-n`? expected one of `raw`, `best-of-n`, `importance`, `beam`, `lookahead`, `draft`, `sequential`, `auto`, `tts-var`
    $ eval scenes --n 0
    error: N: 0 rows, but a search needs at least 1
    hint: choose 1 or more
    $ eval scenes --n 2,2 --methods best-of-n
    error: `best-of-n, N = 2` is given twice
    hint: give every method and every N once
    $ eval scenes --prompts 0
    error: expected 1 to 100000 prompts, found 0
    hint: 300 prompts are enough to tell methods apart
    $ eval scenes --samples 0
    error: --samples is 0, but every prompt needs at least 1 sample
    hint: 4 samples are enough to tell methods apart
    $ eval scenes --split train
    error: unknown split `train`
    hint: expected `test` or `tuning`
    $ eval scenes --experiments none.toml
    error: none.toml: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it
    $ eval scenes --experiments bad.toml
    error: bad.toml: a contender needs either a `method` or a `plan`
    hint: see the files in `experiments/`
    $ eval scenes --experiments sizeless.toml
    error: sizeless.toml: a contender with a `method` needs the size of its search, `n`
    hint: add n = 4, or a list to compare several sizes, n = [1, 2, 4]
    $ eval scenes --experiments good.toml bad.toml
    error: bad.toml: a contender needs either a `method` or a `plan`
    hint: see the files in `experiments/`
    $ eval scenes --experiments good.toml --page none.md
    error: none.md: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it
    $ eval scenes --experiments good.toml --page page.md
    error: page.md: has no marker for the table `good`
    hint: add `<!-- table: good -->` and, on a separate line, `<!-- end -->`
    "#);
    assert!(!desk.path("eval-scenes").exists(), "nothing was evaluated");
}

#[test]
fn lines_that_cannot_be_are_named_and_repeated_ones_count_once() {
    let desk = Desk::new();
    let run = ["--n", "1", "--out", "e", "--resume", "--quiet", "--json"];
    let whole = results(&desk, &["--out", "e"]);
    let text = desk.text("e/records.jsonl");
    let (first, rest) = text.split_once('\n').unwrap();
    let again = |lines: String| {
        desk.write("e/records.jsonl", lines);
        desk.run(&[&SMALL[..], &run].concat())
    };
    let said = again(format!("{text}{first}\n"));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        results(&desk, &["--out", "e", "--resume"])["methods"],
        whole["methods"]
    );
    let mut changed: Value = serde_json::from_str(first).unwrap();
    changed["correct"] = Value::from(5.0);
    let said = again(format!("{changed}\n{rest}"));
    assert_eq!(said.code, Some(2));
    assert!(
        said.err
            .contains("e/records.jsonl: line 1: `correct` is 5, expected 0 to 1\n"),
        "{}",
        said.err
    );
}

#[test]
fn a_folder_has_one_evaluation_at_a_time() {
    let desk = Desk::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttsvar"));
    command
        .args(SMALL)
        .args(["--n", "1,2,4,8", "--out", "e"])
        .current_dir(desk.path(""));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        if desk.files().contains(&"e/records.jsonl".to_owned()) {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let said = desk.run(&[&SMALL[..], &["--n", "1", "--out", "e", "--resume"]].concat());
    let id = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(said.code, Some(2));
    let expected = format!("error: e: process {id} is evaluating in this folder\n");
    assert!(said.err.contains(&expected), "{}", said.err);
    // The lock is gone with the process.
    let said = desk.run(&[&SMALL[..], &["--n", "1", "--out", "e", "--resume", "-q"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn the_help_names_the_seed_that_is_used() {
    let desk = Desk::new();
    for suite in ["scenes", "geneval", "compbench"] {
        let help = desk.works(&["eval", suite, "--help"]);
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            help.contains(
                "Base seed of all samples, which are the same for every method [default: 0]"
            ),
            "{help}"
        );
    }
}

#[test]
fn a_name_that_is_taken_is_found_before_anything_is_generated() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path("e/table.md")).unwrap();
    let said = desk.run(&[&SMALL[..], &["--n", "1", "--out", "e", "-q"]].concat());
    assert_eq!(said.code, Some(2));
    assert!(
        said.err
            .contains("e/table.md: cannot be written: a folder has this name"),
        "{}",
        said.err
    );
    assert_eq!(desk.text("e/records.jsonl"), "");
}
