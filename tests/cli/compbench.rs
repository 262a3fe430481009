//! `ttsvar eval compbench`: images generated here and by other programs, evaluated by small random networks.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::desk::{Desk, Said};

fn data(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
        .display()
        .to_string()
}

/// Two prompts a category and more; `spatial` has one that the detector knows nothing of.
const PROMPTS: [(&str, &[&str]); 8] = [
    (
        "color_val.txt",
        &[
            "a red spoon and a blue toaster",
            "a green car and a white cat",
        ],
    ),
    (
        "spatial_val.txt",
        &["a frog near a dog", "a car on the left of a cat"],
    ),
    ("non_spatial_val.txt", &["A man is mowing the lawn."]),
    ("numeracy_val.txt", &["two cars and one toaster", "one cat"]),
    (
        "complex_val.txt",
        &[
            "The red car was on the left of the cat.",
            "The fluffy cat sleeps.",
            "The cat sleeps near it.",
        ],
    ),
    (
        "complex_val_spatial.txt",
        &["The red car was on the left of the cat."],
    ),
    ("complex_val_action.txt", &["The fluffy cat sleeps."]),
    ("3d_spatial_val.txt", &["a cat in front of a dog"]),
];

fn write_prompts(desk: &Desk) {
    fs::create_dir_all(desk.path("prompts")).unwrap();
    for (file, lines) in PROMPTS {
        desk.write(&format!("prompts/{file}"), lines.join("\n") + "\n");
    }
}

/// The categories with the places of their judged prompts, and all prompts.
fn categories() -> Vec<(&'static str, Vec<&'static str>)> {
    let of = |(file, lines): (&'static str, &'static [&'static str])| {
        let name = file
            .strip_suffix("_val.txt")
            .filter(|name| *name != "3d_spatial")?;
        Some((name, lines.to_vec()))
    };
    PROMPTS.into_iter().filter_map(of).collect()
}

/// A picture of the detector's recordings.
fn picture(i: usize) -> Vec<u8> {
    let names = ["images/img0_320x240.png", "images/img1_256x256.png"];
    fs::read(PathBuf::from(data("mask2former-tiny")).join(names[i % 2])).unwrap()
}

/// `folder/color/samples/PROMPT_000000.png` and so on; `name` makes the part before the number.
fn write_folder(desk: &Desk, folder: &str, samples: usize, name: impl Fn(&str) -> String) {
    for (category, prompts) in categories() {
        let own = format!("{folder}/{category}/samples");
        fs::create_dir_all(desk.path(&own)).unwrap();
        for (i, prompt) in prompts.iter().enumerate() {
            for sample in 0..samples {
                let number = i * samples + sample;
                desk.write(
                    &format!("{own}/{}_{number:06}.png", name(prompt)),
                    picture(number),
                );
            }
        }
    }
}

fn judges() -> Vec<String> {
    let blip = data("blip-vqa-tiny/model_base_vqa.pth");
    let (detector, clip) = (data("mask2former-tiny"), data("clip-tiny/model"));
    ["--blip", &blip, "--detector", &detector, "--clip", &clip]
        .map(str::to_owned)
        .to_vec()
}

fn judge(desk: &Desk, more: &[&str]) -> Said {
    let judges = judges();
    let judges: Vec<&str> = judges.iter().map(String::as_str).collect();
    desk.run(
        &[
            &["eval", "compbench", "--prompts", "prompts", "--json"],
            &judges[..],
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
fn external_images_become_tables_and_official_results() {
    let desk = Desk::new();
    write_prompts(&desk);
    write_folder(&desk, "made", 2, str::to_owned);
    let found = results(&desk, &["--images", "made", "--samples", "2", "--out", "o"]);
    let row = &found["methods"][0];
    assert_eq!(
        (row["images"].as_u64(), row["missing"].as_u64()),
        (Some(18), Some(0))
    );
    assert_eq!(
        found["tasks"],
        json!(["color", "spatial", "non_spatial", "numeracy", "complex"])
    );

    let home = "o/results/made";
    let list = |path: &str| -> Vec<Value> {
        serde_json::from_str(&desk.text(&format!("{home}/{path}"))).unwrap()
    };
    let ids = |path: &str| {
        list(path)
            .iter()
            .map(|one| one["question_id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("color/annotation_blip/vqa_result.json"), [0, 1, 2, 3]);
    assert_eq!(
        ids("spatial/labels/annotation_obj_detection_2d/vqa_result.json"),
        [2, 3],
        "the frog is skipped"
    );
    assert_eq!(ids("non_spatial/annotation_clip/vqa_result.json"), [0, 1]);
    assert_eq!(ids("numeracy/annotation_num/vqa_result.json"), [0, 1, 2, 3]);
    assert_eq!(
        ids("complex/annotation_3_in_1/vqa_result.json"),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(
        ids("complex/annotation_blip/vqa_result.json"),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(
        ids("complex/labels/annotation_obj_detection_2d/vqa_result.json"),
        [0, 1, 4, 5]
    );
    assert_eq!(ids("complex/annotation_clip/vqa_result.json"), [2, 3, 4, 5]);
    let blip = list("color/annotation_blip/vqa_result.json");
    assert!(
        blip.iter()
            .all(|one| one["answer"].as_str().unwrap().len() == 6),
        "{blip:?}"
    );
    let values = blip
        .iter()
        .map(|one| one["answer"].as_str().unwrap().parse::<f64>().unwrap());
    let mean = values.sum::<f64>() / 4.0;
    assert_eq!(
        desk.text(&format!("{home}/color/annotation_blip/blip_vqa_score.txt")),
        format!("BLIP-VQA score:{mean}")
    );
    assert!((row["tasks"]["color"].as_f64().unwrap() - mean).abs() < 1e-12);

    let difference =
        "spatial: 1 of 2 prompts name objects that the detector has no class for and are skipped";
    for file in [
        "table.txt",
        "table.md",
        "summary.json",
        "setup.json",
        "report.html",
        "results/made/differences.txt",
    ] {
        let text = desk.text(&format!("o/{file}"));
        assert!(
            text.contains(difference) && text.contains("Mask2Former"),
            "{file}: {text}"
        );
    }
    let page = desk.text("o/report.html");
    let pictures: Vec<&str> = page
        .split("<img src=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(pictures.len(), 18);
    assert!(
        pictures
            .iter()
            .all(|picture| desk.path("o").join(picture.replace("%20", " ")).is_file()),
        "{pictures:?}"
    );
    assert!(
        page.contains("a red spoon? 0.") && !page.contains(">wrong<"),
        "scores, and what was asked"
    );
}

#[test]
fn scores_do_not_depend_on_the_names_of_files() {
    let desk = Desk::new();
    write_prompts(&desk);
    write_folder(&desk, "named/made", 1, str::to_owned);
    write_folder(&desk, "numbered/made", 1, |_| "x_y".to_owned());
    write_folder(&desk, "swapped/made", 1, |prompt| match prompt {
        "a red spoon and a blue toaster" => "a green car and a white cat".to_owned(),
        _ => "a red spoon and a blue toaster".to_owned(),
    });
    let judged = |folder: &str, out: &str| {
        let images = format!("{folder}/made");
        let said = judge(
            &desk,
            &["--images", &images, "--samples", "1", "--out", out],
        );
        assert_eq!(said.code, Some(0), "{}", said.err);
        (records(&desk, out), said.err)
    };
    let (named, quiet) = judged("named", "a");
    assert_eq!(judged("numbered", "b").0, named);
    let (swapped, warned) = judged("swapped", "c");
    assert_eq!(swapped, named);
    assert!(
        !quiet.contains("named after")
            && warned.contains("2 of 2 images are named after a different prompt"),
        "{warned}"
    );
}

#[test]
fn missing_images_are_reported_and_counted() {
    let desk = Desk::new();
    write_prompts(&desk);
    write_folder(&desk, "made", 1, |_| "p".to_owned());
    fs::remove_file(desk.path("prompts/complex_val_action.txt")).unwrap();
    desk.write("made/color/samples/p_000000.png", "no picture");
    fs::remove_file(desk.path("made/numeracy/samples/p_000001.png")).unwrap();
    fs::remove_dir_all(desk.path("made/non_spatial")).unwrap();
    let said = judge(&desk, &["--images", "made", "--samples", "1", "--out", "o"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    insta::assert_snapshot!(said.err, @r#"
    warning: shape: no prompt file, not evaluated
    warning: texture: no prompt file, not evaluated
    warning: complex: prompts/complex_val_action.txt: No such file or directory (os error 2), not evaluated
    note: self-test: boxes and masks are right on 6 synthetic images
    warning: made/spatial/samples: 1 image skipped: no evaluated prompt has its number
    warning: made/non_spatial/samples: no such folder: its images are missing
    warning: made/numeracy/samples: 1 of 2 images is missing; the first is 000001
    warning: made/color/samples/p_000000.png: expected an image, found text (counted as missing)
    note: records, tables and charts are in o
    "#);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let row = &found["methods"][0];
    assert_eq!(
        (row["images"].as_u64(), row["missing"].as_u64()),
        (Some(3), Some(3))
    );
    assert!(desk.text("o/table.txt").contains("missing"));
    let every = results(
        &desk,
        &[
            "--images",
            "made",
            "--samples",
            "1",
            "--out",
            "p",
            "--every-prompt",
            "--categories",
            "spatial",
        ],
    );
    assert_eq!(every["methods"][0]["images"], 2);
}

#[test]
fn generated_images_are_kept_and_can_be_evaluated_again() {
    let desk = Desk::new();
    write_prompts(&desk);
    let paint = [
        "--methods",
        "raw,best-of-n",
        "--n",
        "2",
        "--samples",
        "2",
        "--categories",
        "color,numeracy",
    ];
    let found = results(
        &desk,
        &[&paint[..], &["--seed", "3", "--keep", "--out", "o"]].concat(),
    );
    assert!(found["methods"][1]["cost"]["flops"].as_f64().unwrap() > 1e8);
    assert!(
        desk.path("o/images/raw-1/color/samples/a green car and a white cat_000003.png")
            .is_file()
    );
    let again = [
        &paint[4..],
        &[
            "--images",
            "o/images/raw-1",
            "o/images/best-of-n-2",
            "--out",
            "again",
        ],
    ]
    .concat();
    let again = results(&desk, &again);
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
    for method in ["raw-1", "best-of-n-2"] {
        let list = |home: &str| {
            desk.text(&format!(
                "{home}/results/{method}/color/annotation_blip/vqa_result.json"
            ))
        };
        assert_eq!(list("o"), list("again"));
    }
}

#[test]
fn an_interrupted_run_resumes() {
    let desk = Desk::new();
    write_prompts(&desk);
    write_folder(&desk, "made", 2, str::to_owned);
    let arguments = ["--images", "made", "--samples", "2", "--out", "o"];
    let whole = results(&desk, &arguments);
    let before = records(&desk, "o");
    let kept: String = before[..7]
        .iter()
        .map(|record| format!("{record}\n"))
        .collect();
    desk.write("o/records.jsonl", kept + "{\"case\": 1, \"ta");
    assert_eq!(
        results(&desk, &[&arguments[..], &["--resume"]].concat()),
        whole
    );
    assert_eq!(records(&desk, "o"), before);
}

#[test]
fn invalid_requests_are_refused() {
    let desk = Desk::new();
    write_prompts(&desk);
    write_folder(&desk, "made", 1, str::to_owned);
    fs::create_dir_all(desk.path("empty")).unwrap();
    fs::create_dir_all(desk.path("frogs")).unwrap();
    desk.write("blank_val.txt", "");
    desk.write("color.txt", "\n");
    desk.write("frogs/spatial_val.txt", "a frog near a bee\n");
    let (blip, clip) = (
        data("blip-vqa-tiny/model_base_vqa.pth"),
        data("clip-tiny/model"),
    );
    let reward = data("imagereward-tiny/ImageReward.pt");
    let detector = data("mask2former-tiny");
    let with = |more: &[&'static str]| {
        [
            &["eval", "compbench", "--images", "made", "--samples", "1"],
            more,
        ]
        .concat()
    };
    let colour = ["--prompts", "prompts", "--categories", "color"];
    let refused: String = [
        with(&[
            "--prompts",
            "prompts",
            "--categories",
            "color,spatial,non_spatial",
        ]),
        [with(&colour), vec!["--blip", "none.pth"]].concat(),
        [
            with(&colour),
            vec!["--blip", &reward, "--vocabulary", "prompts/color_val.txt"],
        ]
        .concat(),
        [
            with(&colour),
            vec!["--blip", &clip, "--vocabulary", "prompts/color_val.txt"],
        ]
        .concat(),
        [
            with(&colour),
            vec!["--blip", &blip, "--vocabulary", "prompts/color_val.txt"],
        ]
        .concat(),
        with(&["--prompts", "empty"]),
        with(&["--prompts", "none"]),
        with(&["--prompts", "blank_val.txt", "color.txt"]),
        with(&["--prompts", "prompts", "--categories", "colour"]),
        vec![
            "eval",
            "compbench",
            "--prompts",
            "prompts",
            "--samples",
            "0",
        ],
        [
            with(&["--quiet", "--prompts", "frogs", "--categories", "spatial"]),
            vec!["--detector", &detector],
        ]
        .concat(),
        [
            vec!["eval", "compbench", "--images", "empty"],
            colour.to_vec(),
            vec!["--blip", &blip],
        ]
        .concat(),
        [
            vec!["eval", "compbench", "--images", "made", "made"],
            colour.to_vec(),
            vec!["--blip", &blip],
        ]
        .concat(),
    ]
    .iter()
    .map(|arguments| desk.refuses(arguments))
    .collect();
    let refused = refused.replace(&data(""), "DATA/");
    insta::assert_snapshot!(refused, @"
    $ eval compbench --images made --samples 1 --prompts prompts --categories color,spatial,non_spatial
    error: T2I-CompBench needs a BLIP (blip-vqa: salesforce/BLIP, about 1.5 GB) and a vocabulary (bert-base-uncased: Hugging Face google-bert/bert-base-uncased) and a detector (mask2former-swin-s: OpenMMLab model zoo, mmdetection v2.0 or Hugging Face facebook/mask2former-swin-small-coco-instance, about 0.28 GB) and a CLIP (clip-vit-base-patch32: Hugging Face openai/clip-vit-base-patch32, about 0.60 GB)
    hint: `ttsvar models fetch blip-vqa bert-base-uncased mask2former-swin-small-coco-instance clip-vit-base-patch32 --weights DIR` downloads it or prints where to get it; then give `--judges DIR`
    $ eval compbench --images made --samples 1 --prompts prompts --categories color --blip none.pth
    error: T2I-CompBench needs the BLIP `none.pth`, which does not exist (--blip) and a vocabulary (bert-base-uncased: Hugging Face google-bert/bert-base-uncased)
    hint: `ttsvar models fetch blip-vqa bert-base-uncased --weights DIR` downloads it or prints where to get it; then give `--judges DIR`
    $ eval compbench --images made --samples 1 --prompts prompts --categories color --blip DATA/imagereward-tiny/ImageReward.pt --vocabulary prompts/color_val.txt
    error: DATA/imagereward-tiny/ImageReward.pt: expected a BLIP for question answering, found another model
    hint: give `model_base_vqa_capfilt_large.pth`; `ttsvar models` says where it is published
    $ eval compbench --images made --samples 1 --prompts prompts --categories color --blip DATA/clip-tiny/model --vocabulary prompts/color_val.txt
    error: DATA/clip-tiny/model: expected a BLIP for question answering, found another model
    hint: give `model_base_vqa_capfilt_large.pth`; `ttsvar models` says where it is published
    $ eval compbench --images made --samples 1 --prompts prompts --categories color --blip DATA/blip-vqa-tiny/model_base_vqa.pth --vocabulary prompts/color_val.txt
    error: prompts/color_val.txt: expected a WordPiece vocabulary, found no `[UNK]` in it
    hint: it is `vocab.txt` of google-bert/bert-base-uncased, one token a line
    $ eval compbench --images made --samples 1 --prompts empty
    error: empty: contains no prompt file of the requested categories
    hint: give the folder with the published text files (`examples/dataset` of Karine-Huang/T2I-CompBench)
    $ eval compbench --images made --samples 1 --prompts none
    error: none: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it
    $ eval compbench --images made --samples 1 --prompts blank_val.txt color.txt
    error: color.txt: contains no prompt
    hint: give the folder with the published text files (`examples/dataset` of Karine-Huang/T2I-CompBench)
    $ eval compbench --images made --samples 1 --prompts prompts --categories colour
    error: unknown category `colour`
    hint: did you mean `color`? expected one of color, shape, texture, spatial, non_spatial, numeracy, complex
    $ eval compbench --prompts prompts --samples 0
    error: --samples is 0, but every prompt needs at least 1 image
    hint: `ttsvar help COMMAND` lists the options
    $ eval compbench --images made --samples 1 --quiet --prompts frogs --categories spatial --detector DATA/mask2former-tiny
    error: nothing can be evaluated: every prompt names an object that the detector has no class for
    hint: --every-prompt evaluates them anyway; such objects then count as not found
    $ eval compbench --images empty --prompts prompts --categories color --blip DATA/blip-vqa-tiny/model_base_vqa.pth
    error: empty: contains no image that can be evaluated (empty/color/samples: no such folder: its images are missing)
    hint: T2I-CompBench's folders are DIR/color/samples/PROMPT_000000.png, or DIR/samples for a single category
    $ eval compbench --images made made --prompts prompts --categories color --blip DATA/blip-vqa-tiny/model_base_vqa.pth
    error: made: a second folder is called `made`
    hint: tables identify folders by their names; rename one
    ");
}

#[test]
fn files_of_macos_beside_images_are_ignored_and_a_readable_file_wins() {
    let desk = Desk::new();
    write_prompts(&desk);
    write_folder(&desk, "plain", 1, str::to_owned);
    write_folder(&desk, "made", 1, str::to_owned);
    for (category, prompts) in categories() {
        for (i, prompt) in prompts.iter().enumerate() {
            let name = format!("{prompt}_{i:06}.png");
            let own = format!("made/{category}/samples");
            desk.write(&format!("{own}/._{name}"), b"\0\x05\x16\x07");
            desk.write(&format!("{own}/a damaged copy_{i:06}.jpg"), "damaged");
        }
    }
    let samples = ["--samples", "1"];
    let expected = results(
        &desk,
        &[&["--images", "plain", "--out", "o"], &samples[..]].concat(),
    );
    let found = results(
        &desk,
        &[&["--images", "made", "--out", "p"], &samples[..]].concat(),
    );
    for field in ["images", "missing", "overall", "tasks"] {
        assert_eq!(
            found["methods"][0][field], expected["methods"][0][field],
            "{field}"
        );
    }
}
