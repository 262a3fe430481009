//! Files as other programs and people leave them: images of other formats, hidden files, texts with
//! marks and foreign line ends, damaged files, prompts that are too long.

use std::{fs, path::PathBuf};

use serde_json::Value;
use ttsvar::{image::Png, search::Image};

use crate::desk::{Desk, demo};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn image(name: &str) -> Vec<u8> {
    fs::read(data("images").join(name)).unwrap()
}

#[test]
fn images_are_scored_by_their_content_whatever_their_name() {
    let desk = Desk::new();
    desk.write("photo.png", image("420.jpg"));
    desk.write("web.png", image("lossy.webp"));
    desk.write("plain.jpg", image("rgb.png"));
    let score = |arguments: &[&str]| {
        let mut all = vec!["score", "--prompt", "a star", "--json", "-q"];
        all.extend(arguments);
        let out = desk.works(&all);
        let lines = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|line| (line["file"].clone(), line["scores"].clone()))
            .collect::<Vec<_>>()
    };
    let named = score(&["photo.png", "web.png", "plain.jpg"]);
    assert!(
        named.iter().all(|(_, scores)| scores.is_object()),
        "{named:?}"
    );
    let folder = score(&["."]);
    assert_eq!(folder.len(), 3);
    // A JPEG is nearly the image that was saved, and its scores are not those of another one.
    desk.write("same.png", image("rgb.png"));
    let same = score(&["same.png"]);
    assert_eq!(same[0].1, named[2].1);
}

#[test]
fn folders_are_read_without_hidden_files_and_what_is_left_out_is_counted() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("made/__MACOSX")).unwrap();
    desk.write("made/a.jpg", image("444.jpg"));
    desk.write("made/b.webp", image("lossless.webp"));
    desk.write("made/._a.jpg", b"\0\x05\x16\x07\0\x02");
    desk.write("made/.DS_Store", b"\0\0\0\x01Bud1");
    desk.write("made/Thumbs.db", b"\xd0\xcf\x11\xe0");
    desk.write("made/__MACOSX/._a.jpg", b"\0\x05\x16\x07");
    desk.write("made/notes.txt", "mine");
    desk.write("made/c.gif", b"GIF89a\x01\0\x01\0");
    desk.write("made/d.png", b"GIF89a\x01\0\x01\0");
    desk.write("made/e.avif", b"\0\0\0\x20ftypavif");
    let said = desk.run(&["score", "made", "--prompt", "a star"]);
    assert_eq!(
        (said.code, said.out.lines().count()),
        (Some(0), 3),
        "{said:?}"
    );
    assert!(
        said.err.starts_with(
            "warning: made: 3 files skipped (1 AVIF, 2 GIF): only PNG, JPEG and WebP are supported\n"
        ),
        "{}",
        said.err
    );
    desk.write("made/f.png", "<!DOCTYPE html><html>404</html>");
    let said = desk.run(&["score", "made", "--prompt", "a star", "-q"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err
            .contains("made/f.png: expected an image, found an HTML page"),
        "{}",
        said.err
    );
    fs::create_dir_all(desk.path("gifs")).unwrap();
    desk.write("gifs/c.gif", b"GIF89a\x01\0\x01\0");
    let refused = desk.refuses(&["score", "gifs", "--prompt", "a star"]);
    assert!(refused.contains("1 file skipped (1 GIF)"), "{refused}");
}

#[test]
fn an_image_of_another_program_has_no_record() {
    let desk = Desk::new();
    desk.write("owl.jpg", image("444.jpg"));
    desk.write("owl.png", image("444.jpg"));
    let refused = [
        desk.refuses(&["inspect", "owl.jpg"]),
        desk.refuses(&["inspect", "owl.png"]),
        desk.refuses(&["generate", "--from", "owl.png"]),
    ];
    for text in refused {
        assert!(
            text.contains("not a PNG, but an image in the format JPEG"),
            "{text}"
        );
        assert!(
            text.contains("hint: only PNG files record how they were made"),
            "{text}"
        );
    }
    let said = desk.run(&["score", "owl.png", "-q"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("owl.png: does not record a prompt"),
        "{}",
        said.err
    );
}

/// A PNG with a text that unpacks to many times its size.
fn with_text(key: &str, unpacked: usize, copies: usize) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
    for _ in 0..unpacked >> 20 {
        encoder.write_all(&vec![b'a'; 1 << 20]).unwrap();
    }
    let packed = encoder.finish().unwrap();
    let mut chunk = b"zTXt".to_vec();
    chunk.extend(key.as_bytes());
    chunk.extend([0, 0]);
    chunk.extend(packed);
    let mut sum = flate2::Crc::new();
    sum.update(&chunk);
    let mut whole = (chunk.len() as u32 - 4).to_be_bytes().to_vec();
    whole.extend(chunk);
    whole.extend(sum.sum().to_be_bytes());
    let mut png = image("rgb.png");
    for _ in 0..copies {
        png.splice(33..33, whole.iter().copied()); // after the header
    }
    png
}

#[test]
fn texts_in_a_png_are_unpacked_only_where_they_are_read() {
    let desk = Desk::new();
    desk.write("other.png", with_text("Comment", 256 << 20, 4));
    desk.write("own.png", with_text("ttsvar:prompt", 256 << 20, 1));
    desk.write("many.png", with_text("ttsvar:prompt", 1 << 20, 100));
    // Nothing above is unpacked here, so that all of them are scored.
    for file in ["other.png", "own.png", "many.png"] {
        desk.works(&["score", file, "--prompt", "a star", "-q"]);
    }
    let refused = desk.refuses(&["inspect", "other.png"]);
    assert!(
        refused.contains("does not record how it was made"),
        "{refused}"
    );
    for file in ["own.png", "many.png"] {
        let refused = desk.refuses(&["inspect", file]);
        assert!(
            refused.contains("the text `ttsvar:prompt` cannot be unpacked within the 16 MiB"),
            "{refused}"
        );
    }
}

#[test]
fn texts_with_marks_and_foreign_line_ends_are_read() {
    let desk = Desk::new();
    let plan = "start = 2\n[[stage]]\nscale = 1\nwidth = 1\nselect = { top = 1 }\n";
    let expected = desk.works(&["plan", {
        desk.write("plain.toml", plan);
        "plain.toml"
    }]);
    desk.write(
        "mark.toml",
        format!("\u{feff}{}", plan.replace('\n', "\r\n")),
    );
    desk.write("old.toml", plan.replace('\n', "\r"));
    for file in ["mark.toml", "old.toml"] {
        assert_eq!(desk.works(&["plan", file]), expected);
    }
    let wide = |text: &str| -> Vec<u8> {
        let bytes = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(bytes).collect()
    };
    desk.write("wide.toml", wide(plan));
    desk.write("wide.txt", wide("a red circle\n"));
    desk.write("wide.json", wide("{}"));
    for arguments in [
        &["plan", "wide.toml"][..],
        &["generate", "--prompts", "wide.txt"],
        &["inspect", "wide.json"],
        &["eval", "scenes", "--experiments", "wide.toml"],
    ] {
        let refused = desk.refuses(arguments);
        assert!(
            refused.contains("expected UTF-8 text, found UTF-16LE")
                && refused.contains("iconv -f UTF-16LE -t UTF-8"),
            "{refused}"
        );
    }
}

#[test]
fn a_damaged_tokenizer_is_one_error() {
    let desk = Desk::new();
    desk.copy(&demo(), "model");
    let whole = desk.read("model/t5/tokenizer.json");
    desk.write("model/t5/tokenizer.json", &whole[..whole.len() * 2 / 3]);
    let refused = desk.refuses(&["generate", "star", "--model", "model", "--out", "x.png"]);
    assert!(
        refused.contains("model/t5/tokenizer.json: not a tokenizer, or a damaged one: ")
            && refused.contains("hint: "),
        "{refused}"
    );
}

#[test]
fn prompts_that_are_cut_are_reported_in_every_output() {
    let desk = Desk::new();
    let long = format!("{}and a blue star", "a red circle ".repeat(300));
    let run = [
        "generate", &long, "--method", "raw", "--seed", "1", "-o", "x.png",
    ];
    let said = desk.run(&[&run[..], &["--trace", "x.json"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    for reader in [
        "warning: the text encoder T5 reads only the first 512 tokens of the prompt; it drops: ",
        "warning: the scorer demo-reward reads only the first 35 tokens of the prompt; it drops: ",
    ] {
        assert!(said.err.contains(reader), "{}", said.err);
    }
    let trace: Value = serde_json::from_str(&desk.text("x.json")).unwrap();
    let warnings = trace["warnings"].as_array().unwrap();
    assert_eq!(
        (warnings.len(), &warnings[0]["limit"]),
        (2, &Value::from(512))
    );
    let dropped = warnings[0]["dropped"].as_str().unwrap();
    assert!(long.ends_with(dropped), "{dropped}");
    let json = desk.works(&[&run[..], &["--json", "-q"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
    let inspected = desk.works(&["inspect", "x.json"]);
    assert!(
        inspected.contains("warning: the text encoder T5"),
        "{inspected}"
    );
}

#[test]
fn a_prompt_that_a_scorer_cuts_is_reported_by_score() {
    let desk = Desk::new();
    desk.write("a.png", image("rgb.png"));
    desk.write("b.png", image("rgb.png"));
    let long = "a red circle ".repeat(20) + "and a blue star";
    let said = desk.run(&["score", "a.png", "b.png", "--prompt", &long]);
    let warning = "warning: the scorer demo-reward reads only the first 35 tokens of the prompt";
    assert_eq!(
        (said.code, said.err.matches(warning).count()),
        (Some(0), 1),
        "{}",
        said.err
    );
}

#[test]
fn evaluations_summarise_prompts_that_are_cut_and_unknown_words() {
    let desk = Desk::new();
    let prompt = |text: &str| {
        format!(
            "{{\"tag\": \"single_object\", \"include\": \
             [{{\"class\": \"car\", \"count\": 1}}], \"prompt\": \"{text}\"}}\n"
        )
    };
    let long = "a red circle ".repeat(20);
    let lines = [
        prompt("a red car"),
        prompt(&long),
        prompt("a car and a dog"),
    ]
    .concat();
    desk.write("prompts.jsonl", lines);
    let (detector, clip) = (data("mask2former-tiny"), data("clip-tiny/model"));
    let said = desk.run(&[
        "eval",
        "geneval",
        "--prompts",
        "prompts.jsonl",
        "--detector",
        detector.to_str().unwrap(),
        "--clip",
        clip.to_str().unwrap(),
        "--methods",
        "raw",
        "--samples",
        "1",
        "--out",
        "o",
    ]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for expected in [
        "warning: the generator does not know some words in 2 of 3 prompts: car, dog\n",
        "warning: the scorer demo-reward reads only the beginning of 1 of 3 prompts; in case 1: ",
    ] {
        assert!(said.err.contains(expected), "{}", said.err);
    }
}

#[test]
fn warnings_of_a_list_name_their_prompt() {
    let desk = Desk::new();
    desk.write("list.txt", "a red circle\na red zorble\n");
    let said = desk.run(&[
        "generate",
        "--prompts",
        "list.txt",
        "--method",
        "raw",
        "-o",
        ".",
    ]);
    assert!(
        said.err.contains(
            "warning: prompt 2: the generator does not know these words of the prompt: zorble\n"
        ),
        "{}",
        said.err
    );
}

/// A PNG with a text of another program.
fn png_with(key: &str, text: &str) -> Vec<u8> {
    let image = Image::new(8, 8, vec![90; 3 * 64]);
    let png = Png::new(image).with_text(key, text);
    png.encode().unwrap()
}

const WEB_UI: &str = "a red circle and a blue star\nNegative prompt: blur\nSteps: 20, \
    Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x512, Model: \"deliberate, v2\", \
    Version: v1.9.4";

const WORKFLOW: &str = r#"{
    "1": {"class_type": "KSampler", "inputs": {"seed": 42, "steps": 20, "cfg": 7.0,
        "positive": ["2", 0], "negative": ["3", 0]}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red circle and a blue star"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blur"}}
}"#;

#[test]
fn settings_of_other_programs_are_shown_and_used() {
    let desk = Desk::new();
    desk.write("web-ui.png", png_with("parameters", WEB_UI));
    desk.write("comfy.png", png_with("prompt", WORKFLOW));
    insta::assert_snapshot!(desk.works(&["inspect", "web-ui.png", "comfy.png"]), @r"
    web-ui.png: 8 × 8 pixels, made by another program

    prompt     a red circle and a blue star
    negative   blur
    Steps      20
    Sampler    Euler a
    CFG scale  7
    Seed       42
    Size       512x512
    Model      deliberate, v2
    Version    v1.9.4

    ttsvar generate --from web-ui.png   uses its prompts and its seed

    comfy.png: 8 × 8 pixels, made by another program

    prompt     a red circle and a blue star
    negative   blur
    Steps      20
    CFG scale  7
    Seed       42
    Version    ComfyUI

    ttsvar generate --from comfy.png   uses its prompts and its seed
    ");
    let by_hand = [
        "generate",
        "a red circle and a blue star",
        "--negative",
        "blur",
        "--seed",
        "42",
        "--method",
        "raw",
        "-q",
        "--out",
        "by-hand.png",
    ];
    desk.works(&by_hand);
    for file in ["web-ui.png", "comfy.png"] {
        let said = desk.run(&[
            "generate",
            "--from",
            file,
            "--method",
            "raw",
            "--out",
            "again.png",
        ]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(
            said.err.contains("that image was made by another program"),
            "{}",
            said.err
        );
        assert_eq!(desk.read("again.png"), desk.read("by-hand.png"), "{file}");
    }
}

#[test]
fn images_show_their_settings_to_other_programs() {
    let desk = Desk::new();
    let image = [
        "generate",
        "a red circle",
        "--negative",
        "blur",
        "--seed",
        "7",
        "--method",
        "best-of-n",
        "--n",
        "2",
        "--cfg",
        "2.5",
        "-q",
        "--out",
        "own.png",
    ];
    desk.works(&image);
    let png = desk.png("own.png");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        png.text("parameters"),
        Some(
            format!(
                "a red circle\nNegative prompt: blur\nSteps: 7, Sampler: best-of-n, CFG scale: 2.5, \
                 Seed: 7, Size: 64x64, Model: demo, Version: ttsvar {version}"
            )
            .as_str()
        )
    );
}
