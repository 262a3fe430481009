//! `ttsvar eval geneval`: images generated here and by other programs, evaluated by small random networks.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::desk::{Desk, Said};

const DETECTOR: &str = "mask2former-tiny";
const CLIP: &str = "clip-tiny/model";

fn data(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
        .display()
        .to_string()
}

/// Three prompts in GenEval's form.
fn prompts() -> Vec<Value> {
    let one = |class: &str| json!({"class": class, "count": 1});
    vec![
        json!({"tag": "single_object", "include": [one("spoon")], "prompt": "a photo of a spoon"}),
        json!({"tag": "colors", "include": [{"class": "toaster", "count": 1, "color": "red"}], "prompt": "a photo of a red toaster"}),
        json!({"tag": "counting", "include": [one("car")], "exclude": [{"class": "car", "count": 2}], "prompt": "a photo of one car"}),
    ]
}

fn lines(of: &[Value]) -> String {
    of.iter().map(|line| format!("{line}\n")).collect()
}

/// A picture of the detector's recordings.
fn picture(i: usize) -> Vec<u8> {
    let names = ["images/img0_320x240.png", "images/img1_256x256.png"];
    fs::read(PathBuf::from(data(DETECTOR)).join(names[i % 2])).unwrap()
}

/// `folder/00000/metadata.jsonl` and so on, with so many pictures a prompt.
fn write_folder(desk: &Desk, folder: &str, samples: usize) {
    for (number, prompt) in prompts().iter().enumerate() {
        let own = format!("{folder}/{number:05}");
        fs::create_dir_all(desk.path(&format!("{own}/samples"))).unwrap();
        desk.write(
            &format!("{own}/metadata.jsonl"),
            lines(std::slice::from_ref(prompt)),
        );
        for sample in 0..samples {
            desk.write(
                &format!("{own}/samples/{sample:04}.png"),
                picture(number + sample),
            );
        }
    }
}

fn judge(desk: &Desk, more: &[&str]) -> Said {
    let (detector, clip) = (data(DETECTOR), data(CLIP));
    desk.run(
        &[
            &[
                "eval",
                "geneval",
                "--detector",
                &detector,
                "--clip",
                &clip,
                "--json",
            ],
            more,
        ]
        .concat(),
    )
}

fn results(desk: &Desk, more: &[&str]) -> Value {
    let said = judge(desk, &[more, &["--quiet"]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    serde_json::from_str(&said.out).unwrap()
}

fn records(desk: &Desk, out: &str) -> Vec<Value> {
    let text = desk.text(&format!("{out}/records.jsonl"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn external_images_become_records_tables_and_official_results() {
    let desk = Desk::new();
    write_folder(&desk, "made", 2);
    let found = results(&desk, &["--images", "made", "--out", "o"]);
    let row = &found["methods"][0];
    assert_eq!(
        (
            row["method"].as_str(),
            row["images"].as_u64(),
            row["missing"].as_u64()
        ),
        (Some("made"), Some(6), Some(0))
    );
    let official: Vec<Value> = desk
        .text("o/results/made.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(official.len(), 6);
    for (i, line) in official.iter().enumerate() {
        let keys: Vec<&str> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "filename", "tag", "prompt", "correct", "reason", "metadata", "details"
            ]
        );
        assert_eq!(
            line["filename"],
            format!("made/{:05}/samples/{:04}.png", i / 2, i % 2)
        );
        let metadata: Value = serde_json::from_str(line["metadata"].as_str().unwrap()).unwrap();
        assert_eq!(metadata, prompts()[i / 2]);
        let details: Value = serde_json::from_str(line["details"].as_str().unwrap()).unwrap();
        for rows in details.as_object().unwrap().values() {
            assert!(
                rows.as_array()
                    .unwrap()
                    .iter()
                    .all(|row| row.as_array().unwrap().len() == 5)
            );
        }
    }
    // Both pictures of a prompt, and the same picture for another prompt, show what they show.
    let seen = |i: usize| official[i]["details"].clone();
    assert_eq!((seen(0), seen(1)), (seen(3), seen(2)));
    assert!(
        official.iter().any(|line| line["correct"] == true)
            && official.iter().any(|line| line["correct"] == false)
    );
    let table = desk.text("o/table.txt");
    assert!(
        table.starts_with("GenEval (3 prompts, 2 samples each)") && !table.contains("GFLOP"),
        "{table}"
    );
    let page = desk.text("o/report.html");
    let pictures: Vec<&str> = page
        .split("<img src=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(pictures.len(), 6);
    assert!(
        pictures
            .iter()
            .all(|picture| desk.path("o").join(picture).is_file()),
        "{pictures:?}"
    );
    let files = desk.files();
    assert!(
        files.contains(&"o/summary.json".to_owned())
            && !files.iter().any(|file| file.ends_with(".svg"))
    );
}

#[test]
fn folders_may_lack_images_and_need_distinct_names() {
    let desk = Desk::new();
    write_folder(&desk, "made", 1);
    let found = results(&desk, &["--images", "made", "--samples", "3", "--out", "o"]);
    assert_eq!(
        (
            found["samples"].as_u64(),
            found["methods"][0]["missing"].as_u64()
        ),
        (Some(3), Some(6))
    );
    for name in ["Made", "ma-de", "ma_de"] {
        write_folder(&desk, name, 1);
    }
    for (one, two) in [("made", "Made"), ("ma-de", "ma_de")] {
        let said = judge(&desk, &["--images", one, two, "--out", "p"]);
        assert!(
            said.code == Some(2) && said.err.contains("result files would have the same names"),
            "{said:?}"
        );
    }
    fs::create_dir(desk.path("other")).unwrap();
    write_folder(&desk, "other/made", 1);
    let said = judge(
        &desk,
        &[
            "--images",
            "other/made",
            "--samples",
            "3",
            "--out",
            "o",
            "--resume",
        ],
    );
    assert!(
        said.code == Some(2) && said.err.contains("a different image folder"),
        "{said:?}"
    );
}

#[test]
fn missing_images_are_reported_and_counted() {
    let desk = Desk::new();
    write_folder(&desk, "made", 2);
    desk.write("made/00000/samples/0001.png", "no picture");
    fs::remove_file(desk.path("made/00001/samples/0000.png")).unwrap();
    fs::remove_file(desk.path("made/00001/samples/0001.png")).unwrap();
    fs::remove_file(desk.path("made/00002/metadata.jsonl")).unwrap();
    fs::create_dir_all(desk.path("made/00004/samples")).unwrap();
    desk.write(
        "made/00004/metadata.jsonl",
        "{\"tag\": \"shape\", \"prompt\": \"x\"}\n",
    );
    desk.write("made/00004/samples/0000.png", picture(0));
    desk.write("made/00000/samples/0002.jpg", "whatever");
    let said = judge(&desk, &["--images", "made", "--out", "o"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    insta::assert_snapshot!(said.err, @r#"
    warning: made/00001/samples: contains no image
    warning: made/00002/metadata.jsonl: No such file or directory (os error 2): its images are skipped
    warning: made/00004/metadata.jsonl: unknown tag, expected one of single_object, two_object, counting, colors, position, color_attr: its images are skipped
    warning: made: 1 of 5 prompts has no folder; the first is 00003
    note: self-test: boxes, masks, colours and rules are right on 6 synthetic images
    warning: made/00000/samples/0001.png: expected an image, found text (counted as missing)
    warning: made/00000/samples/0002.jpg: expected an image, found text (counted as missing)
    note: records, tables and charts are in o
    "#);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let row = &found["methods"][0];
    assert_eq!(
        (row["images"].as_u64(), row["missing"].as_u64()),
        (Some(1), Some(5)),
        "three samples per prompt, since one is called 0002.jpg"
    );
    assert!(desk.text("o/table.txt").contains("missing"));

    // With the published prompts the others are expected too, and folders need no metadata of their
    // own.
    desk.write("prompts.jsonl", lines(&prompts()));
    let found = results(
        &desk,
        &[
            "--images",
            "made",
            "--prompts",
            "prompts.jsonl",
            "--out",
            "p",
        ],
    );
    let row = &found["methods"][0];
    assert_eq!(
        (row["images"].as_u64(), row["missing"].as_u64()),
        (Some(3), Some(6))
    );
}

#[test]
fn an_interrupted_run_resumes_and_folders_are_compared() {
    let desk = Desk::new();
    write_folder(&desk, "one", 2);
    write_folder(&desk, "two", 2);
    let whole = results(&desk, &["--images", "one", "two", "--out", "o"]);
    let before = records(&desk, "o");
    assert_eq!(before.len(), 12);
    let kept: Vec<Value> = before[..7].to_vec();
    desk.write("o/records.jsonl", lines(&kept) + "{\"case\": 1, \"ta");
    assert_eq!(
        results(&desk, &["--images", "one", "two", "--out", "o", "--resume"]),
        whole
    );
    assert_eq!(records(&desk, "o"), before);
    let rows = whole["methods"].as_array().unwrap();
    assert_eq!(rows[0]["overall"], rows[1]["overall"], "the same pictures");
    assert_eq!(rows[1]["gain"]["interval"], json!([0.0, 0.0]));
}

#[test]
fn generated_images_are_kept_and_can_be_evaluated_again() {
    let desk = Desk::new();
    desk.write("prompts.jsonl", lines(&prompts()));
    let paint = [
        "--prompts",
        "prompts.jsonl",
        "--methods",
        "raw,best-of-n",
        "--n",
        "2",
        "--samples",
        "1",
    ];
    let found = results(
        &desk,
        &[&paint[..], &["--seed", "3", "--keep", "--out", "o"]].concat(),
    );
    assert_eq!(found["methods"].as_array().unwrap().len(), 2);
    assert!(found["methods"][1]["cost"]["flops"].as_f64().unwrap() > 1e8);
    let again = results(
        &desk,
        &[
            "--images",
            "o/images/raw-1",
            "o/images/best-of-n-2",
            "--out",
            "again",
        ],
    );
    for (painted, shown) in found["methods"]
        .as_array()
        .unwrap()
        .iter()
        .zip(again["methods"].as_array().unwrap())
    {
        assert_eq!(
            (&painted["tasks"], &painted["overall"]),
            (&shown["tasks"], &shown["overall"])
        );
    }
    let page = desk.text("o/report.html");
    assert!(
        page.contains("<img src=\"images/best-of-n-2/00002/samples/0000.png\"")
            && page.contains("raw, N = 1")
    );
    let details = |out: &str| -> Vec<Value> {
        let mut all = records(&desk, out);
        all.sort_by_key(|record| {
            (
                record["n"].as_u64(),
                record["method"].to_string(),
                record["case"].as_u64(),
            )
        });
        all.iter().map(|record| record["details"].clone()).collect()
    };
    let (mut painted, mut shown) = (details("o"), details("again"));
    painted.sort_by_key(Value::to_string);
    shown.sort_by_key(Value::to_string);
    assert_eq!(painted, shown);
    assert_eq!(desk.text("o/results/best-of-n-2.jsonl").lines().count(), 3);
}

#[test]
fn invalid_requests_are_refused() {
    let desk = Desk::new();
    write_folder(&desk, "made", 1);
    desk.write("prompts.jsonl", lines(&prompts()));
    desk.write(
        "bad.jsonl",
        lines(&prompts()[..1]) + "{\"tag\": \"colors\"}\n",
    );
    fs::create_dir(desk.path("empty")).unwrap();
    let (detector, clip) = (data(DETECTOR), data(CLIP));
    let judges = ["--detector", &detector, "--clip", &clip];
    let with = |more: &[&'static str]| [&["eval", "geneval"], more, &judges[..]].concat();
    let refused: String = [
        vec!["eval", "geneval", "--prompts", "prompts.jsonl"],
        vec![
            "eval",
            "geneval",
            "--images",
            "made",
            "--detector",
            &detector,
        ],
        vec![
            "eval",
            "geneval",
            "--images",
            "made",
            "--detector",
            "none.pth",
            "--clip",
            &clip,
        ],
        vec![
            "eval",
            "geneval",
            "--images",
            "made",
            "--detector",
            &clip,
            "--clip",
            &clip,
        ],
        vec![
            "eval",
            "geneval",
            "--images",
            "made",
            "--detector",
            "made/00000/samples/0000.png",
            "--clip",
            &clip,
        ],
        with(&[]),
        with(&["--prompts", "none.jsonl"]),
        with(&["--prompts", "bad.jsonl"]),
        with(&["--images", "empty"]),
        with(&["--images", "none"]),
        with(&["--images", "made", "made"]),
    ]
    .iter()
    .map(|arguments| desk.refuses(arguments))
    .collect();
    let refused = refused.replace(&data(""), "DATA/");
    insta::assert_snapshot!(refused, @r#"
    $ eval geneval --prompts prompts.jsonl
    error: GenEval needs a detector (mask2former-swin-s: OpenMMLab model zoo, mmdetection v2.0 or Hugging Face facebook/mask2former-swin-small-coco-instance, about 0.28 GB) and a CLIP (clip-vit-large-patch14: Hugging Face openai/clip-vit-large-patch14, about 1.7 GB)
    hint: `ttsvar models fetch mask2former-swin-small-coco-instance clip-vit-large-patch14 --weights DIR` downloads it or prints where to get it; then give `--judges DIR`
    $ eval geneval --images made --detector DATA/mask2former-tiny
    error: GenEval needs a CLIP (clip-vit-large-patch14: Hugging Face openai/clip-vit-large-patch14, about 1.7 GB)
    hint: `ttsvar models fetch clip-vit-large-patch14 --weights DIR` downloads it or prints where to get it; then give `--judges DIR`
    $ eval geneval --images made --detector none.pth --clip DATA/clip-tiny/model
    error: GenEval needs the detector `none.pth`, which does not exist (--detector)
    hint: `ttsvar models fetch mask2former-swin-small-coco-instance --weights DIR` downloads it or prints where to get it; then give `--judges DIR`
    $ eval geneval --images made --detector DATA/clip-tiny/model --clip DATA/clip-tiny/model
    error: DATA/clip-tiny/model: expected a Mask2Former, found another model
    hint: give an mmdetection checkpoint or a Hugging Face folder; `ttsvar models` lists both
    $ eval geneval --images made --detector made/00000/samples/0000.png --clip DATA/clip-tiny/model
    error: made/00000/samples/0000.png: expected weights (PyTorch, safetensors or GGUF), found a PNG image
    hint: is this the right file? `ttsvar models` lists every model's files and where each is published
    $ eval geneval --detector DATA/mask2former-tiny --clip DATA/clip-tiny/model
    error: GenEval needs its prompts
    hint: give the published file: `--prompts evaluation_metadata.jsonl` (553 lines, from djghosh13/geneval)
    $ eval geneval --prompts none.jsonl --detector DATA/mask2former-tiny --clip DATA/clip-tiny/model
    error: none.jsonl: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it
    $ eval geneval --prompts bad.jsonl --detector DATA/mask2former-tiny --clip DATA/clip-tiny/model
    error: bad.jsonl: line 2: expected metadata of GenEval: missing field `prompt`
    hint: give GenEval's `evaluation_metadata.jsonl`
    $ eval geneval --images empty --detector DATA/mask2former-tiny --clip DATA/clip-tiny/model
    error: empty: contains no image that can be evaluated
    hint: GenEval's folders are DIR/00000/metadata.jsonl and DIR/00000/samples/0000.png
    $ eval geneval --images none --detector DATA/mask2former-tiny --clip DATA/clip-tiny/model
    error: none: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it
    $ eval geneval --images made made --detector DATA/mask2former-tiny --clip DATA/clip-tiny/model
    error: made: a second folder is called `made`
    hint: tables identify folders by their names; rename one
    "#);
}

#[test]
fn pretty_metadata_and_images_of_any_format_are_read() {
    let desk = Desk::new();
    write_folder(&desk, "plain", 1);
    write_folder(&desk, "made", 1);
    for (number, prompt) in prompts().iter().enumerate() {
        let pretty = serde_json::to_string_pretty(prompt)
            .unwrap()
            .replace('\n', "\r\n");
        let pretty = pretty.replacen('{', "{\"score\": NaN,", 1);
        desk.write(
            &format!("made/{number:05}/metadata.jsonl"),
            format!("\u{feff}{pretty}\n\n"),
        );
        let samples = format!("made/{number:05}/samples");
        desk.write(&format!("{samples}/._0000.png"), b"\0\x05\x16\x07");
        desk.write(&format!("{samples}/.DS_Store"), b"Bud1");
    }
    let expected = results(&desk, &["--images", "plain", "--out", "o"]);
    let found = results(&desk, &["--images", "made", "--out", "p"]);
    for field in ["images", "missing", "overall", "tasks"] {
        assert_eq!(
            found["methods"][0][field], expected["methods"][0][field],
            "{field}"
        );
    }
    // A JPEG under the name of a PNG, and a WebP
    let image = |name: &str| fs::read(data("images") + "/" + name).unwrap();
    desk.write("made/00000/samples/0000.png", image("420.jpg"));
    fs::remove_file(desk.path("made/00001/samples/0000.png")).unwrap();
    desk.write("made/00001/samples/0000.webp", image("lossy.webp"));
    let found = results(&desk, &["--images", "made", "--out", "q"]);
    assert_eq!(found["methods"][0]["images"], 3);
}

#[test]
fn of_two_files_with_one_number_the_readable_one_counts_and_the_other_is_reported() {
    let desk = Desk::new();
    write_folder(&desk, "made", 1);
    desk.write("made/00000/samples/000.png", "damaged");
    desk.write("made/00000/samples/grid.png", picture(0));
    desk.write("made/00000/samples/0001.gif", b"GIF89a\x01\0");
    fs::create_dir_all(desk.path("made/0")).unwrap();
    let said = judge(&desk, &["--images", "made", "--out", "o"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for expected in [
        "made/00000/samples: 1 file skipped: another image has the same number: `000.png`\n",
        "made/00000/samples: 1 file skipped: no number in the name: `grid.png`\n",
        "made/00000/samples: 1 file skipped (1 GIF): only PNG, JPEG and WebP are supported\n",
        "made/0: skipped: `00000` has the same number\n",
    ] {
        assert!(said.err.contains(expected), "{expected}{}", said.err);
    }
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found["methods"][0]["images"], 3);
}

#[test]
fn nothing_evaluated_is_an_error_and_leaves_nothing_in_the_way() {
    let desk = Desk::new();
    write_folder(&desk, "made", 1);
    for number in 0..3 {
        desk.write(
            &format!("made/{number:05}/samples/0000.png"),
            "<html>not found</html>",
        );
    }
    let said = judge(&desk, &["--images", "made", "--out", "o"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert!(
        said.err
            .contains("error: made: none of its 3 images could be evaluated\nhint: ")
            && said
                .err
                .contains("0000.png: expected an image, found an HTML page"),
        "{}",
        said.err
    );
    assert!(!desk.files().contains(&"o/table.txt".to_owned()));
    write_folder(&desk, "made", 1);
    results(&desk, &["--images", "made", "--out", "o"]);
}
