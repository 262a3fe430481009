//! From a prompt to files: the same seed gives the same bytes, lists are numbered, records can be
//! read.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use ttsvar::{report::Provenance, search::Trace};

use crate::desk::Desk;

/// The cheapest search, and no talk.
const RAW: [&str; 4] = ["--method", "raw", "--seed", "7"];

fn generate(desk: &Desk, arguments: &[&str]) -> String {
    desk.works(&[&["generate"], arguments, &RAW].concat())
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let desk = Desk::new();
    for out in ["a.png", "b.png"] {
        desk.works(&[
            "generate",
            "a red circle",
            "--method",
            "beam",
            "--n",
            "2",
            "--seed",
            "5",
            "--out",
            out,
        ]);
    }
    desk.works(&[
        "generate",
        "a red circle",
        "--method",
        "beam",
        "--n",
        "2",
        "--seed",
        "6",
        "--out",
        "c.png",
    ]);
    assert_eq!(desk.read("a.png"), desk.read("b.png"));
    assert_ne!(desk.png("a.png").image, desk.png("c.png").image);
}

#[test]
fn threads_do_not_change_the_image() {
    let desk = Desk::new();
    for threads in ["1", "2"] {
        let out = format!("{threads}.png");
        desk.works(&[
            "generate",
            "a blue star",
            "--seed",
            "5",
            "--threads",
            threads,
            "--out",
            &out,
        ]);
    }
    assert_eq!(desk.read("1.png"), desk.read("2.png"));
}

#[test]
fn a_folder_gets_free_names_and_a_file_is_replaced() {
    let desk = Desk::new();
    let first = generate(&desk, &["A blue star!"]);
    assert!(first.starts_with("a-blue-star.png\n  score "), "{first}");
    assert!(
        first.contains(", seed 7, raw, N = 1: 1 decode, "),
        "{first}"
    );
    assert_eq!(
        generate(&desk, &["a blue star", "--quiet"]),
        "a-blue-star-2.png\n"
    );
    assert_eq!(
        generate(&desk, &["a blue star", "--quiet", "--out", "new/folder"]),
        "new/folder/a-blue-star.png\n"
    );
    generate(&desk, &["a red ring", "--out", "a-blue-star.png"]);
    assert_eq!(
        desk.files(),
        [
            "a-blue-star-2.png",
            "a-blue-star.png",
            "new/folder/a-blue-star.png"
        ]
    );
    assert_eq!(
        desk.png("a-blue-star.png").text("ttsvar:prompt"),
        Some("a red ring")
    );
}

#[test]
fn prompts_come_from_a_file_and_from_standard_input() {
    let desk = Desk::new();
    let list = "a red circle\n\n  a blue star \n";
    desk.write("prompts.txt", list);
    let files = generate(&desk, &["--prompts", "prompts.txt", "--out", "file", "-q"]);
    assert_eq!(
        files,
        "file/0001-a-red-circle.png\nfile/0002-a-blue-star.png\n"
    );
    for (i, typed) in [&["-"][..], &["--prompts", "-"]].iter().enumerate() {
        let folder = format!("stdin{i}");
        let said = desk.run_with(
            &[&["generate", "--out", &folder, "-q"], *typed, &RAW].concat(),
            list,
        );
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        assert_eq!(said.out, files.replace("file/", &format!("{folder}/")));
        assert_eq!(
            desk.read(&format!("{folder}/0002-a-blue-star.png")),
            desk.read("file/0002-a-blue-star.png")
        );
    }
    // The second prompt of a list is painted as if it stood alone with the next seed.
    desk.works(&[
        "generate",
        "a blue star",
        "--method",
        "raw",
        "--seed",
        "8",
        "--out",
        "alone.png",
    ]);
    assert_eq!(
        desk.read("alone.png"),
        desk.read("file/0002-a-blue-star.png")
    );
}

#[test]
fn searches_side_by_side_find_and_print_what_they_do_one_by_one() {
    let desk = Desk::new();
    // The first search takes longest, and is printed first.
    let prompts = [
        "three red circles and a blue star",
        "a red circle",
        "a blue star",
        "a green ring",
        "a blue star",
    ];
    desk.write("prompts.txt", prompts.join("\n"));
    let generate = |out: &str, threads: &[&str]| {
        let list = ["generate", "--prompts", "prompts.txt", "--seed", "3", "-q"];
        desk.works(&[&list[..], &["--out", out], threads].concat())
    };
    let side_by_side = generate("many", &[]);
    let one_by_one = generate("one", &["--threads", "1"]);
    assert_eq!(side_by_side.lines().count(), prompts.len());
    assert_eq!(side_by_side.replace("many/", "one/"), one_by_one);
    for (many, one) in side_by_side.lines().zip(one_by_one.lines()) {
        assert_eq!(desk.read(many), desk.read(one), "{many}");
    }
}

#[test]
fn json_lines_name_the_files_that_were_written() {
    let desk = Desk::new();
    desk.write("prompts.txt", "a red circle\na blue star\n");
    let out = generate(
        &desk,
        &[
            "--prompts",
            "prompts.txt",
            "--json",
            "--out",
            "o",
            "--trace",
            "o",
            "--tree",
            "o",
            "--report",
            "o",
        ],
    );
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for (i, line) in lines.iter().enumerate() {
        assert!(
            ["path", "trace", "tree", "report"]
                .iter()
                .all(|key| desk.path(line[key].as_str().unwrap()).is_file()),
            "{line}"
        );
        assert_eq!(
            (&line["seed"], &line["method"], &line["n"]),
            (&(7 + i).into(), &"raw".into(), &1.into())
        );
        let picture = desk.png(line["path"].as_str().unwrap()).image;
        assert_eq!(
            (&line["width"], &line["height"]),
            (&picture.width().into(), &picture.height().into())
        );
        assert!(
            line["score"].is_number() && line["unknown_words"] == Value::Array(vec![]),
            "{line}"
        );
    }
    assert_eq!(lines[1]["tree"], "o/0002-a-blue-star.tree.png");
    assert_eq!(lines[1]["report"], "o/0002-a-blue-star.report.html");
    assert_eq!(desk.files().len(), 9);
}

#[cfg(unix)]
#[test]
fn the_command_on_the_page_paints_the_same_picture() {
    let desk = Desk::new();
    let plan = desk.works(&["plan", "beam", "--n", "4", "--toml"]);
    desk.write("own.toml", plan);
    let searches: [&[&str]; 3] = [
        &[
            "it's a red circle & a \"blue\" square",
            "--seed",
            "3",
            "--lambda",
            "2.5",
            "--draw",
            "systematic",
            "--tau",
            "0.7",
        ],
        &[
            "a red circle",
            "--method",
            "auto",
            "--n",
            "3",
            "--negative=-a <b>star</b>",
            "--top-k",
            "0",
            "--preview",
            "48",
        ],
        &[
            "a red circle",
            "--plan",
            "own.toml",
            "--seed",
            "18446744073709551615",
        ],
    ];
    for search in searches {
        let said = desk.run(
            &[
                &["generate", "--out", "a.png", "--report", "a.html"],
                search,
            ]
            .concat(),
        );
        assert_eq!(said.code, Some(0), "{said:?}");
        let page = desk.text("a.html");
        if let Some((_, url)) =
            page.split_once("download=\"plan.toml\" href=\"data:text/plain;charset=utf-8;base64,")
        {
            let toml = STANDARD.decode(url.split('"').next().unwrap()).unwrap();
            desk.write("plan.toml", toml);
        }
        let (_, line) = page
            .split_once("<pre id=\"command\" tabindex=\"0\">")
            .unwrap();
        let line = line.split("</pre>").next().unwrap();
        let line = line
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        let line = line.replacen("generate ", "generate --out b.png ", 1);
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_ttsvar"))
            .parent()
            .unwrap();
        let mut shell = std::process::Command::new("/bin/sh");
        let status = shell
            .args(["-c", &line])
            .env("PATH", program)
            .current_dir(desk.path(""))
            .output()
            .unwrap()
            .status;
        assert!(status.success(), "{line}");
        assert_eq!(desk.png("a.png").image, desk.png("b.png").image, "{line}");
    }
}

#[test]
fn the_trace_and_the_picture_of_a_search_can_be_read() {
    let desk = Desk::new();
    let search = [
        "generate",
        "a red circle",
        "--method",
        "tts-var",
        "--seed",
        "4",
        "--out",
        "a.png",
        "--trace",
        "a.json",
        "--tree",
        "t.png",
    ];
    let said = desk.works(&[&search[..], &["--json"]].concat());
    let trace = Trace::from_json(&desk.text("a.json")).unwrap();
    assert_eq!((trace.prompt.as_str(), trace.seed), ("a red circle", 4));
    assert!(trace.cost.decodes <= 21, "{}", trace.cost.decodes);
    let line: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(line["cost"]["decodes"], trace.cost.decodes);
    let tree = desk.png("t.png").image;
    assert!((300..4000).contains(&tree.width()) && (300..4000).contains(&tree.height()));

    let picture = desk.works(&["inspect", "a.png"]);
    for part in [
        "a.png: ",
        "prompt    a red circle\n",
        "seed      4\n",
        "method tts-var, n 1",
        "start = 8",
        "[[stage]]",
    ] {
        assert!(picture.contains(part), "{part} in {picture}");
    }
    let record = desk.works(&["inspect", "a.json"]);
    for part in [
        "a.json: trace\n",
        "prompt  a red circle\n",
        "seed    4\n",
        "winner  candidate ",
        "cluster pca",
        "the best",
    ] {
        assert!(record.contains(part), "{part} in {record}");
    }
    let both = desk.works(&["inspect", "a.png", "a.json", "--json"]);
    let [image, json] =
        [0, 1].map(|i| serde_json::from_str::<Value>(both.lines().nth(i).unwrap()).unwrap());
    assert_eq!(
        (&image["prompt"], &image["seed"], &image["file"]),
        (&"a red circle".into(), &4.into(), &"a.png".into())
    );
    assert_eq!(image["score"], line["score"]);
    assert_eq!(
        json["trace"]["candidates"].as_array().unwrap().len(),
        trace.candidates.len()
    );
}

#[test]
fn unknown_words_are_named_and_quiet_is_quiet() {
    let desk = Desk::new();
    let run = |flags: &[&str]| {
        desk.run(&[&["generate", "a red zorble", "--out", "a.png"], flags, &RAW].concat())
    };
    let said = run(&[]);
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(
        (said.code, lines.len(), lines[0]),
        (
            Some(0),
            2,
            "warning: the generator does not know these words of the prompt: zorble"
        )
    );
    assert!(
        lines[1].starts_with("hint: it knows these words: a, "),
        "{}",
        lines[1]
    );
    let quiet = run(&["--quiet"]);
    assert_eq!(
        (quiet.code, quiet.out.as_str(), quiet.err.as_str()),
        (Some(0), "a.png\n", "")
    );
    let json: Value = serde_json::from_str(&run(&["--quiet", "--json"]).out).unwrap();
    assert_eq!(json["unknown_words"], Value::from(vec!["zorble"]));
}

#[test]
fn every_method_and_every_choice_paints() {
    let desk = Desk::new();
    for flags in [
        &[
            "--method",
            "importance",
            "--n",
            "2",
            "--potential",
            "max",
            "--lambda",
            "0",
        ][..],
        &["--method", "beam", "--n", "1", "--preview", "32"],
        &[
            "--method",
            "best-of-n",
            "--n",
            "2",
            "--cfg",
            "1",
            "--top-k",
            "0",
        ],
        &[
            "--method",
            "raw",
            "--top-p",
            "0",
            "--cfg-layer",
            "1",
            "--negative",
            "blue",
        ],
        &[
            "--method", "raw", "--tau", "0.001", "--top-p", "1", "--aspect", "1:1",
        ],
    ] {
        desk.works(
            &[
                &[
                    "generate",
                    "a red circle",
                    "-q",
                    "--out",
                    "a.png",
                    "--seed",
                    "1",
                ],
                flags,
            ]
            .concat(),
        );
        assert!(desk.png("a.png").image.width() > 0);
    }
}

#[test]
fn a_budget_decides_how_many_candidates_there_are() {
    let desk = Desk::new();
    for (budget, method, most) in [
        ("3images", "best-of-n", 3),
        ("6GFLOP", "best-of-n", 3),
        ("4images", "draft", 1),
        ("3images", "auto", 3),
    ] {
        let search = [
            "generate",
            "a red circle",
            "--method",
            method,
            "--budget",
            budget,
        ];
        let files = ["--seed", "3", "--out", "a.png", "--trace", "a.json"];
        let mut arguments = [&search[..], &files].concat();
        if method == "auto" {
            arguments.extend(["--enough", "9"]); // never
        }
        desk.works(&arguments);
        let trace = Trace::from_json(&desk.text("a.json")).unwrap();
        let finished = trace.finals.len();
        assert!(
            (1..=most).contains(&finished),
            "{budget} of {method}: {finished}"
        );
        if method == "best-of-n" {
            assert_eq!(finished, most, "{budget}");
        }
        desk.works(&["generate", "--from", "a.png", "--out", "b.png"]);
        assert_eq!(desk.png("a.png").image, desk.png("b.png").image, "{budget}");
    }
    let refused = desk.refuses(&["generate", "a ring", "--budget", "60"]);
    insta::assert_snapshot!(refused, @r#"
    $ generate "a ring" --budget 60
    error: expected a budget of time, operations or images, found `60`
    hint: for example 60s, 5min, 2PFLOP or 3images
    "#);
}

#[test]
fn a_budget_below_one_round_is_said_to_be_exceeded() {
    let desk = Desk::new();
    let search = ["generate", "a red circle", "--method", "best-of-n"];
    for (budget, note) in [
        (
            "0.1image",
            "the first round took 1 image, more than the budget of 0.1images",
        ),
        ("0.1GFLOP", "GFLOP, more than the budget of 0.1GFLOP"),
        ("0.000001s", "s, more than the budget of 0.000001s"),
    ] {
        let said = desk.run(&[&search[..], &["--budget", budget, "--trace", "a.json"]].concat());
        assert_eq!(said.code, Some(0), "{budget}");
        assert!(said.err.contains(note), "{budget}: {}", said.err);
        let trace = Trace::from_json(&desk.text("a.json")).unwrap();
        assert_eq!(trace.finals.len(), 1, "{budget}");
    }
    desk.works(&[&search[..], &["--budget", "5images"]].concat());
}

#[test]
fn the_best_images_of_a_search_are_numbered_from_the_best() {
    let desk = Desk::new();
    let search = [
        "generate",
        "a star",
        "--method",
        "best-of-n",
        "--n",
        "3",
        "--seed",
        "4",
    ];
    desk.works(&[&search[..], &["--out", "winner.png"]].concat());
    let outputs = [
        "--best",
        "2",
        "--out",
        "best",
        "--trace",
        "trace.json",
        "--json",
    ];
    let said: Value = serde_json::from_str(&desk.works(&[&search[..], &outputs].concat())).unwrap();

    let trace = Trace::from_json(&desk.text("trace.json")).unwrap();
    let mut scores: Vec<f32> = trace.finals.iter().map(|last| last.score).collect();
    scores.sort_by(|one, other| other.total_cmp(one));
    for (place, score) in scores[..2].iter().enumerate() {
        let path = format!("best/a-star-{}.png", place + 1);
        assert_eq!(said["images"][place]["path"], path);
        let record = Provenance::read(&desk.png(&path)).unwrap().unwrap();
        assert_eq!((record.score(), record.seed), (Some(*score), 4));
        assert_eq!(
            said["images"][place]["score"].as_f64().unwrap() as f32,
            *score
        );
    }
    assert_eq!(said["path"], "best/a-star-1.png");
    assert_eq!(desk.read("winner.png"), desk.read("best/a-star-1.png"));
    assert!(!desk.path("best/a-star-3.png").exists());

    // All files of a second search have another common name.
    desk.works(
        &[
            &search[..],
            &["--best", "2", "--out", "best", "--trace", "best"],
        ]
        .concat(),
    );
    for name in ["a-star-2-1.png", "a-star-2-2.png", "a-star-2.trace.json"] {
        assert!(desk.path("best").join(name).exists(), "{name}");
    }
}

#[test]
fn more_images_than_a_search_finishes_are_refused() {
    let desk = Desk::new();
    let raw = ["generate", "a star", "--method", "raw", "--best", "2"];
    let said = desk.refuses(&raw);
    assert!(
        said.contains(
            "cannot keep the best 2 images: this search (raw, N = 1) finishes at most 1 image"
        ),
        "{said}"
    );
    let said = desk.refuses(&[&raw[..], &["--out", "a.png"]].concat());
    assert!(said.contains("a.png: several results cannot be written to one file"));
    // Before anything is loaded: the folder has no weights.
    let released = [
        "generate",
        "a star",
        "--model",
        "infinity-2b",
        "--weights",
        ".",
    ];
    let with = |more: &[&str]| desk.refuses(&[&released[..], more].concat());
    let said = with(&["--method", "best-of-n", "--n", "3", "--best", "4"]);
    assert!(
        said.contains("(best-of-n, N = 3) finishes at most 3 images"),
        "{said}"
    );
    insta::assert_snapshot!(with(&["--n", "3", "--finish", "4"]), @r#"
    $ generate "a star" --model infinity-2b --weights . --n 3 --finish 4
    error: finish is 4, but the search has only 3 candidates
    hint: choose at most 3, or a larger --n
    "#);
    let said = with(&["--method", "draft", "--finish", "9"]);
    assert!(
        said.contains("finish is 9, but the search has only 8 candidates"),
        "{said}"
    );
    let said = desk.refuses(&["generate", "a star", "--best", "0"]);
    assert!(said.contains("--best"), "{said}");
    assert!(desk.files().is_empty());
}

#[test]
fn a_search_that_stops_before_its_best_images_are_found_says_so() {
    let desk = Desk::new();
    let search = [
        "generate",
        "a star",
        "--method",
        "sequential",
        "--n",
        "4",
        "--enough=-100",
    ];
    let said = desk.run(&[&search[..], &["--best", "3", "--seed", "4"]].concat());
    assert!(
        said.err
            .contains("finished 1 image, fewer than the 3 to keep"),
        "{}",
        said.err
    );
    assert_eq!(desk.files(), ["a-star-1.png"]);
}
