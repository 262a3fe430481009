//! Scores by questions, which a vision server answers.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{
    desk::Desk,
    support::vision::{Server, likely, serve},
};

const KEY: &str = "sk-very-secret";

/// A server that is sure of some questions and in doubt about others.
fn server() -> Server {
    serve(|request| {
        assert_eq!(request.authorization, format!("Bearer {KEY}"));
        likely(match request.question().contains("to the left of") {
            true => 0.25,
            false => 0.75,
        })
    })
}

/// Runs the program with a key in its environment.
fn run(desk: &Desk, server: &Server, arguments: &[&str]) -> String {
    let mut command = assert_cmd::Command::cargo_bin("ttsvar").unwrap();
    let command = command
        .current_dir(desk.path("."))
        .env("OPENAI_API_KEY", KEY)
        .env("TTSVAR_OPENAI_CACHE", "answers")
        .args(arguments)
        .args(["--openai-url", &server.address, "--openai-model", "m"]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{err}");
    assert!(!said.contains(KEY) && !err.contains(KEY));
    said
}

#[test]
fn a_search_is_guided_by_questions_and_the_key_is_written_nowhere() {
    let desk = Desk::new();
    let server = server();
    let search = [
        "generate",
        "a red circle left of a blue square",
        "--seed",
        "3",
        "--method",
        "best-of-n",
        "--n",
        "2",
        "--scorer",
        "openai",
        "--questions",
        "auto",
        "--out",
        "a.png",
        "--trace",
        "a.json",
        "--report",
        "a.html",
        "--json",
    ];
    let line: Value = serde_json::from_str(&run(&desk, &server, &search)).unwrap();
    // Four questions are answered with 0.75 and one with 0.25.
    let score = line["scores"]["openai (m)"].as_f64().unwrap();
    assert!((score - 0.65).abs() < 1e-6, "{line}");
    for file in ["a.png", "a.json", "a.html"] {
        let bytes = desk.read(file);
        assert!(
            !bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()),
            "{file}"
        );
    }
    let wrong = "Is the red circle to the left of the blue square?";
    assert_eq!(line["answers"]["openai (m)"][4]["question"], wrong);
    let trace: Value = serde_json::from_str(&desk.text("a.json")).unwrap();
    assert_eq!(trace["settings"]["questions"], "auto");
    let answers = &trace["answers"][0];
    assert_eq!(answers["scale"], 6);
    assert_eq!(answers["questions"][4]["question"], wrong);
    let candidates = answers["candidates"].as_array().unwrap();
    let answered = json!({ "id": 1, "probabilities": [0.75, 0.75, 0.75, 0.75, 0.25] });
    assert_eq!((candidates.len(), &candidates[1]), (2, &answered));
    let page = desk.text("a.html");
    assert!(page.contains(wrong) && page.contains("<b>0.25</b>"));
    let inspected = desk.works(&["inspect", "a.json"]);
    let row = inspected.lines().find(|line| line.contains(wrong));
    assert!(row.unwrap().ends_with("0.25"), "{inspected}");
    let score = [
        "score",
        "a.png",
        "--scorer",
        "openai",
        "--questions",
        "auto",
        "--json",
    ];
    let scored: Value = serde_json::from_str(&run(&desk, &server, &score)).unwrap();
    let answers = scored["answers"]["openai (m)"].as_array().unwrap();
    let texts: Vec<&str> = answers
        .iter()
        .map(|answer| answer["question"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts,
        [
            "Is there a circle in the image?",
            "Is the circle red?",
            "Is there a square in the image?",
            "Is the square blue?",
            "Is the red circle to the left of the blue square?",
        ]
    );
    assert_eq!(answers[4]["probability"], 0.25);
}

#[test]
fn an_image_records_the_questions_of_its_prompt() {
    let desk = Desk::new();
    let server = server();
    let lists = [
        json!({ "prompt": "a star", "questions": ["Is it to the left of nothing?"] }),
        json!({ "prompt": "a ring", "questions": ["Is it a ring?", ["How many?", "one"]] }),
    ];
    let text = lists.clone().map(|list| format!("{list}\n")).concat();
    desk.write("lists.jsonl", text);
    let generate = |more: &[&str]| {
        let method = ["generate", "--method", "best-of-n", "--n", "2"];
        run(&desk, &server, &[&method[..], more].concat())
    };
    let asked = ["--scorer", "openai", "--questions", "lists.jsonl"];
    let choices = ["--question-mean", "geometric", "--report", "a.html"];
    let first = [&["a ring", "--out", "a.png"][..], &asked, &choices].concat();
    let said = generate(&first);
    assert!(said.contains("\n  How many? one: 0.00"), "{said}");
    desk.write("lists.jsonl", "");
    generate(&["--from", "a.png", "--out", "b.png"]);
    assert_eq!(desk.read("a.png"), desk.read("b.png"));
    let settings = &desk.png("a.png");
    let settings: Value = serde_json::from_str(settings.text("ttsvar:settings").unwrap()).unwrap();
    assert_eq!(settings["questions"], json!([lists[1]]));
    assert_eq!(settings["question_mean"], "geometric");
    let page = desk.text("a.html");
    assert!(page.contains("--questions questions.jsonl"));
    assert!(page.contains("--question-mean geometric"));
    generate(&["a star", "--from", "a.png", "--out", "c.png"]);
    let settings = &desk.png("c.png");
    let settings: Value = serde_json::from_str(settings.text("ttsvar:settings").unwrap()).unwrap();
    assert_eq!(settings["questions"], "auto");
}

#[test]
fn questions_come_from_a_file_or_stand_in_the_mix() {
    let desk = Desk::new();
    let server = server();
    run(
        &desk,
        &server,
        &["generate", "a ring", "--seed", "1", "--out", "a.png", "-q"],
    );
    let line = json!({ "prompt": "a ring", "questions": [
        "Is it a ring?", "Is it to the left of nothing?",
    ]});
    desk.write("lists.jsonl", format!("{line}\n"));
    let score = |more: &[&str]| -> Value {
        let arguments = [&["score", "a.png", "--json"], more].concat();
        let line: Value = serde_json::from_str(&run(&desk, &server, &arguments)).unwrap();
        line["scores"].clone()
    };
    let lists = ["--scorer", "openai", "--questions", "lists.jsonl"];
    let arithmetic = score(&lists)["openai (m)"].as_f64().unwrap();
    assert!((arithmetic - 0.5).abs() < 1e-6);
    let geometric = score(&[&lists[..], &["--question-mean", "geometric"]].concat());
    let geometric = geometric["openai (m)"].as_f64().unwrap();
    assert!((geometric - (0.75f64 * 0.25).sqrt()).abs() < 1e-6);
    let mix = r#"openai:"A, b = c?",openai:"Is it to the left of x?""#;
    let scores = score(&["--scorer", mix]);
    assert_eq!(scores[r#"openai:"A, b = c?" (m)"#], 0.75);
    assert_eq!(scores[r#"openai:"Is it to the left of x?" (m)"#], 0.25);
    let said = run(&desk, &server, &[&["score", "a.png"], &lists[..]].concat());
    let wrong = "\na.png: Is it to the left of nothing? Yes: 0.25";
    assert!(said.contains(wrong), "{said}");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let desk = Desk::new();
    desk.write("bad.jsonl", "{\"prompt\": \"a\"}\n");
    desk.write("bad.csv", "a,b\n");
    let refused: Vec<String> = [
        &["--questions", "auto"][..],
        &["--scorer", "openai"],
        &[
            "--scorer",
            "openai",
            "--openai-url",
            "http://me:secret@host/v1",
        ],
        &["--scorer", "openai", "--questions", "bad.jsonl"],
        &["--scorer", "openai", "--questions", "bad.csv"],
        &["--scorer", "openai", "--question-mean", "harmonic"],
        &["--scorer", "clip:Is it red?"],
    ]
    .into_iter()
    .map(|more| desk.refuses(&[&["generate", "a ring"], more].concat()))
    .collect();
    assert_snapshot!(refused.concat(), @r#"
    $ generate "a ring" --questions auto
    error: `--questions` needs a scorer that answers questions; `demo-reward` does not
    hint: choose one that does: vqa or openai
    $ generate "a ring" --scorer openai
    error: the scorer openai needs the address of a vision server
    hint: give --openai-url http://localhost:8000/v1, or set TTSVAR_OPENAI_URL
    $ generate "a ring" --scorer openai --openai-url http://me:secret@host/v1
    error: the address of the vision server must be of the form http://localhost:8000/v1
    hint: do not put keys or passwords in the address; set OPENAI_API_KEY
    $ generate "a ring" --scorer openai --questions bad.jsonl
    error: bad.jsonl: line 1: missing field `questions` at line 1 column 15
    hint: expected JSON lines with `prompt` and `questions` (or `vqa_list`, as GenEval 2 has it), or DPG-Bench's dpg_bench.csv
    $ generate "a ring" --scorer openai --questions bad.csv
    error: bad.csv: no column `text`
    hint: expected JSON lines with `prompt` and `questions` (or `vqa_list`, as GenEval 2 has it), or DPG-Bench's dpg_bench.csv
    $ generate "a ring" --scorer openai --question-mean harmonic
    error: unknown mean `harmonic`
    hint: expected `arithmetic` or `geometric`
    $ generate "a ring" --scorer "clip:Is it red?"
    error: the scorer `clip` answers no questions
    hint: these do: vqa, vqa-xxl, openai
    "#);
}

#[test]
fn questions_are_a_benchmark() {
    let desk = Desk::new();
    let server = server();
    let lines = [
        json!({ "prompt": "a ring", "vqa_list": [["Is it a ring?", "Yes"]] }),
        json!({ "prompt": "two stars", "questions": [
            "Is there a star?", "Is it to the left of nothing?",
        ]}),
    ];
    desk.write(
        "lists.jsonl",
        lines.map(|line| format!("{line}\n")).concat(),
    );
    let evaluate = |more: &[&str]| {
        let arguments = ["eval", "questions", "--prompts", "lists.jsonl", "--json"];
        run(&desk, &server, &[&arguments[..], more].concat())
    };
    let generated = [
        "--methods",
        "raw",
        "--scorer",
        "demo-reward",
        "--answerer",
        "openai",
        "--keep",
        "--out",
        "made",
    ];
    let results: Value = serde_json::from_str(&evaluate(&generated)).unwrap();
    // 0.75 for the ring, the mean of 0.75 and 0.25 for the stars.
    let overall = results["methods"][0]["overall"].as_f64().unwrap();
    assert!((overall - 0.625).abs() < 1e-6, "{results}");
    assert_eq!(results["notes"], Value::Null);
    let page = desk.text("made/report.html");
    assert!(page.contains("Is it to the left of nothing? Yes: 0.25"));
    assert!(
        desk.text("made/records.jsonl")
            .contains("\"probability\":0.25")
    );
    let external = [
        "--images",
        "made/images/raw-1",
        "--scorer",
        "openai",
        "--out",
        "theirs",
    ];
    let again: Value = serde_json::from_str(&evaluate(&external)).unwrap();
    assert_eq!(
        again["methods"][0]["overall"],
        results["methods"][0]["overall"]
    );
    let shared = ["--methods", "raw", "--scorer", "openai", "--out", "shared"];
    let shared: Value = serde_json::from_str(&evaluate(&shared)).unwrap();
    let note = shared["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("Searches use the same scorer as the evaluation"),
        "{note}"
    );
}
