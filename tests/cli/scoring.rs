//! Pictures scored by the demo and by small scorers under their released names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use insta::assert_snapshot;
use serde_json::Value;

use crate::desk::Desk;

/// A folder of recordings: below `TTSVAR_GOLDEN` where that is set, in `tests/data` otherwise.
pub fn recorded(name: &str) -> PathBuf {
    let root = std::env::var_os("TTSVAR_GOLDEN").map(PathBuf::from);
    root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"))
        .join(name)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Small scorers in the folder `downloads`, named as the released ones.
pub fn downloads(desk: &Desk) {
    let put = |from: &str, to: &str| {
        let to = desk.path("downloads").join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(recorded(from), to).unwrap();
    };
    put(
        "hpsv2-tiny/HPS_v2.1_compressed.pt",
        "HPS_v2.1_compressed.pt",
    );
    put(
        "hpsv2-tiny/open_clip_model_config.json",
        "open_clip_model_config.json",
    );
    put(
        "hpsv2-tiny/bpe_simple_vocab.txt.gz",
        "clip-bpe/bpe_simple_vocab_16e6.txt.gz",
    );
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        put(
            &format!("clip-tiny/model/{file}"),
            &format!("clip-vit-large-patch14/{file}"),
        );
    }
    for file in [
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    ] {
        put(
            &format!("clip-tiny/model/{file}"),
            &format!("pickscore-v1/{file}"),
        );
    }
    put(
        "aesthetic-tiny/aesthetic_predictor_v2_5.pth",
        "aesthetic_predictor_v2_5.pth",
    );
    for file in ["config.json", "model.safetensors"] {
        put(
            &format!("aesthetic-tiny/siglip/{file}"),
            &format!("siglip-so400m-patch14-384/{file}"),
        );
    }
}

/// The pictures of a recording.
fn pictures(fixture: &str) -> Vec<String> {
    let names: Vec<String> =
        serde_json::from_value(json(recorded(fixture).join("golden.json"))["images"].clone())
            .unwrap();
    names
        .iter()
        .map(|name| recorded(fixture).join(name).display().to_string())
        .collect()
}

/// The scores in the lines of `--json`.
fn scores(out: &str, scorer: &str) -> Vec<f64> {
    out.lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["scores"][scorer]
                .as_f64()
                .unwrap()
        })
        .collect()
}

/// A row of a recorded table.
fn row(fixture: &str, tensor: &str, row: usize) -> Vec<f64> {
    let file = recorded(fixture).join("golden.safetensors");
    let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
    let values: Vec<f32> = tensors[tensor]
        .get(row)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    values.into_iter().map(f64::from).collect()
}

fn close(found: &[f64], expected: &[f64], limit: f64) {
    assert_eq!(found.len(), expected.len());
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    println!("max difference {worst:.2e} (limit {limit:.0e})");
    assert!(worst <= limit, "{found:?} for {expected:?}");
}

#[test]
fn parity_scores_on_the_command_line_are_the_recorded_ones() {
    let desk = Desk::new();
    downloads(&desk);
    let score = |fixture: &str, scorer: &str, more: &[&str]| {
        let files = pictures(fixture);
        let mut arguments = vec![
            "score",
            "--scorer",
            scorer,
            "--weights",
            "downloads",
            "--json",
            "--quiet", // one of the prompts is cut
        ];
        arguments.extend(more);
        arguments.extend(files.iter().map(String::as_str));
        desk.works(&arguments)
    };
    for (p, prompt) in json(recorded("hpsv2-tiny/golden.json"))["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let out = score(
            "hpsv2-tiny",
            "hps",
            &["--prompt", prompt.as_str().unwrap().trim()],
        );
        close(&scores(&out, "hps"), &row("hpsv2-tiny", "scores", p), 5e-5);
    }
    let prompt = json(recorded("clip-tiny/golden.json"))["prompts"][0]
        .as_str()
        .unwrap()
        .trim()
        .to_owned();
    let out = score(
        "clip-tiny",
        "clip,clip-100,clip-2.5",
        &["--prompt", &prompt],
    );
    close(&scores(&out, "clip"), &row("clip-tiny", "cosine", 0), 5e-5);
    close(
        &scores(&out, "clip-100"),
        &row("clip-tiny", "clip_score_100", 0),
        5e-3,
    );
    close(
        &scores(&out, "clip-2.5"),
        &row("clip-tiny", "clip_score_2_5", 0),
        2e-4,
    );
    let out = score("clip-tiny", "pick", &["--prompt", &prompt]);
    let pick = json(recorded("clip-tiny-pickscore.json"));
    let expected: Vec<f64> = serde_json::from_value(pick["scores"][0].clone()).unwrap();
    close(&scores(&out, "pick"), &expected, 5e-3);
    let out = score("aesthetic-tiny", "aesthetic", &[]); // needs no prompt
    let expected = json(recorded("aesthetic-tiny/golden.json"))["scores"].clone();
    close(
        &scores(&out, "aesthetic"),
        &serde_json::from_value::<Vec<f64>>(expected).unwrap(),
        2e-3,
    );
}

#[test]
fn pictures_painted_here_are_scored_for_their_own_prompts() {
    let desk = Desk::new();
    desk.write(
        "prompts.txt",
        "a red circle\na blue star above a red square\n",
    );
    let painted = desk.works(&[
        "generate",
        "--prompts",
        "prompts.txt",
        "--n",
        "1",
        "--seed",
        "5",
        "--json",
        "-o",
        ".",
    ]);
    let out = desk.works(&["score", ".", "--json", "-q"]);
    for (painted, scored) in painted.lines().zip(out.lines()) {
        let [painted, scored] =
            [painted, scored].map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(
            (&scored["prompt"], &scored["scores"]["demo-reward"]),
            (&painted["prompt"], &painted["score"])
        );
    }
    let table = desk.works(&[
        "score",
        "0001-a-red-circle.png",
        "--prompt",
        "a red circle",
        "-q",
    ]);
    assert!(
        table.starts_with("image                  demo-reward\n0001-a-red-circle.png  "),
        "{table}"
    );
    let other = desk.run(&["score", "0001-a-red-circle.png"]);
    assert!(
        other.err.starts_with("note: scored by the demo") && other.out.contains("a red circle"),
        "{other:?}"
    );
}

#[test]
fn what_is_no_picture_is_one_line_and_the_rest_is_scored() {
    let desk = Desk::new();
    desk.works(&[
        "generate",
        "a red circle",
        "--method",
        "raw",
        "--seed",
        "1",
        "-o",
        "good.png",
        "-q",
    ]);
    desk.write("text.png", "this is no picture");
    let good = desk.png("good.png").image;
    ttsvar::image::save(&good, desk.path("bare.png")).unwrap();
    let said = desk.run(&[
        "score", "text.png", "good.png", "none.png", "bare.png", "-q",
    ]);
    assert_snapshot!(said.err, @r#"
    error: text.png: expected an image, found text
    hint: the file is damaged, or it is not an image; PNG, JPEG and WebP are supported
    error: none.png: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it
    error: bare.png: does not record a prompt
    hint: give one: --prompt "a red circle"
    "#);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((said.code, lines.len()), (Some(2), 5), "{said:?}");
    assert!(
        lines[1].starts_with("text.png            -") && lines[2].ends_with("  a red circle"),
        "{said:?}"
    );
    let said = desk.run(&["score", "text.png", "good.png", "-q", "--json"]);
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines[0]["error"].as_str().unwrap().contains("found text")
            && lines[1]["scores"].is_object(),
        "{said:?}"
    );
    assert_eq!(said.code, Some(2));
}

#[test]
fn scorers_that_cannot_score_are_refused() {
    let desk = Desk::new();
    fs::create_dir(desk.path("empty")).unwrap();
    let refused: String = [
        vec!["score", "a.png", "--scorer", "pickscore"],
        vec!["score", "a.png", "--scorer", "hps"],
        vec![
            "score",
            "a.png",
            "--scorer",
            "hps,aesthetic",
            "--weights",
            "empty",
        ],
        vec!["score", "a.png", "--scorer", "clip", "--weights", "empty"],
        vec!["score", "a.png", "--scorer", "hps=10", "--weights", "empty"],
        vec!["score", "a.png", "--prompt", " "],
        vec!["score", "a.png", "--weights", "none"],
        vec!["score", "empty"],
        vec!["generate", "a red circle", "--weights", "empty"],
    ]
    .iter()
    .map(|arguments| desk.refuses(arguments))
    .collect();
    assert_snapshot!(refused, @r#"
    $ score a.png --scorer pickscore
    error: unknown scorer `pickscore`
    hint: expected one or more of image-reward, hps, pick, clip, clip-100, clip-2.5, aesthetic, vqa, vqa-xxl, relation, openai, demo-reward
    $ score a.png --scorer hps
    error: `demo` has no scorer `hps`; it has `demo-reward`
    hint: give the folder with the released one: `--weights DIR`; `ttsvar models fetch hps` downloads hps-v2.1 and clip-bpe
    $ score a.png --scorer hps,aesthetic --weights empty
    error: empty: 4 files are missing: HPS_v2.1_compressed.pt (Hugging Face xswu/HPSv2), merges.txt (Hugging Face openai/clip-vit-large-patch14), aesthetic_predictor_v2_5.pth (GitHub discus0434/aesthetic-predictor-v2-5), siglip-so400m-patch14-384 (Hugging Face google/siglip-so400m-patch14-384)
    hint: `ttsvar models fetch hps aesthetic --weights empty` downloads them
    $ score a.png --scorer clip --weights empty
    error: empty: 1 file is missing: clip-vit-large-patch14 (Hugging Face openai/clip-vit-large-patch14)
    hint: `ttsvar models fetch clip --weights empty` downloads them
    $ score a.png --scorer hps=10 --weights empty
    error: `hps=10`: weights mix several scorers, but `hps` is the only one
    hint: leave the weight out; --lambda sets how greedily scores are followed
    $ score a.png --prompt " "
    error: --prompt is empty
    hint: describe the images
    $ score a.png --weights none
    error: none: no such folder
    hint: give the folder with the downloaded files; `ttsvar models fetch NAME --weights DIR` downloads them
    $ score empty
    error: empty: contains no images
    hint: PNG, JPEG and WebP are supported
    $ generate "a red circle" --weights empty
    error: empty: the demo has its own weights, and no option needs files from this folder
    hint: choose a released model, --model infinity-2b, or a released scorer, --scorer hps
    "#);
}
