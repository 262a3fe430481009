//! `ttsvar collect`: what is in its files, and that a killed run continues with the same bytes.

use std::{
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::desk::Desk;

const LIST: &str = "a red circle\n\
    {\"prompt\": \"a photo of a ring\", \"captions\": [\"a photo of a star\", \"two rings\"]}\n\
    two blue stars\n";

fn collect<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let first = [
        "collect",
        "--prompts",
        "list.txt",
        "--seed",
        "7",
        "-q",
        "--out",
        out,
    ];
    [&first, more].concat()
}

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("list.txt", LIST);
    desk
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.chunks_exact(4);
    values
        .map(|value| f32::from_le_bytes(value.try_into().unwrap()))
        .collect()
}

fn samples(bytes: &[u8]) -> Value {
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let texts = header.metadata().as_ref().unwrap();
    serde_json::from_str(&texts["samples"]).unwrap()
}

#[test]
fn shards_have_the_latents_and_the_scores_that_generate_gives() {
    let desk = desk();
    let more = [
        "--samples",
        "2",
        "--shard",
        "4",
        "--scales",
        "3,1",
        "--images",
        "--hidden-block",
        "3",
        "--latents",
        "f32",
    ];
    desk.works(&collect("pairs", &more));
    let bytes = desk.read("pairs/pairs-00000000-00000003.safetensors");
    let shard = SafeTensors::deserialize(&bytes).unwrap();
    let latents = shard.tensor("latents").unwrap();
    assert_eq!(
        (latents.dtype(), latents.shape()),
        (Dtype::F32, &[4, 2, 16, 8, 8][..])
    );
    for (scale, side) in [(1, 2), (3, 4)] {
        let hidden = shard.tensor(&format!("hidden.{scale}")).unwrap();
        assert_eq!(
            (hidden.dtype(), hidden.shape()),
            (Dtype::F32, &[4, 128, side, side][..])
        );
        assert!(floats(hidden.data()).iter().any(|value| *value != 0.0));
    }
    assert_eq!(shard.tensor("images").unwrap().shape(), [4, 64, 64, 3]);
    let scores = floats(shard.tensor("scores").unwrap().data());
    assert_eq!(scores.len(), 1 + 3 + 1 + 1);
    let of_sample: Vec<u8> = shard.tensor("sample").unwrap().data().to_vec();
    let of_sample: Vec<u8> = of_sample.into_iter().step_by(8).collect();
    assert_eq!(of_sample, [0, 1, 1, 1, 2, 3]);
    let samples = samples(&bytes);
    assert_eq!(samples[1]["captions"].as_array().unwrap().len(), 3);
    assert_eq!(samples[3]["prompt"], "a red circle");

    let second = desk.read("pairs/pairs-00000004-00000005.safetensors");
    assert_eq!(
        SafeTensors::deserialize(&second)
            .unwrap()
            .tensor("latents")
            .unwrap()
            .shape()[0],
        2
    );

    for (i, score) in [(0, 0), (1, 1), (2, 4), (3, 5)] {
        let prompt = samples[i]["prompt"].as_str().unwrap();
        let seed = samples[i]["seed"].as_u64().unwrap();
        assert_eq!(seed, 7 + i as u64);
        let seed = seed.to_string();
        let found = desk.works(&[
            "generate", prompt, "--method", "raw", "--seed", &seed, "--json", "--out", "a.png",
        ]);
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(
            found["score"].as_f64().unwrap() as f32,
            scores[score],
            "{prompt}"
        );
        let image = desk.png("a.png").image;
        let pixels = shard.tensor("images").unwrap().data();
        assert_eq!(image.pixels(), &pixels[i * 64 * 64 * 3..][..64 * 64 * 3]);
    }
    let changed = desk.works(&["score", "a.png", "--prompt", "a red circle", "--json", "-q"]);
    let changed: Value = serde_json::from_str(&changed).unwrap();
    assert_eq!(
        changed["scores"]["demo-reward"].as_f64().unwrap() as f32,
        scores[5]
    );
}

#[test]
fn half_precision_rounds_the_same_latents() {
    let desk = desk();
    desk.works(&collect("half", &["--scales", "4"]));
    desk.works(&collect("full", &["--scales", "4", "--latents", "f32"]));
    let name = "pairs-00000000-00000002.safetensors";
    let half = desk.read(&format!("half/{name}"));
    let full = desk.read(&format!("full/{name}"));
    let half = SafeTensors::deserialize(&half).unwrap();
    let full = SafeTensors::deserialize(&full).unwrap();
    let rounded: Vec<u8> = floats(full.tensor("latents").unwrap().data())
        .into_iter()
        .flat_map(|value| half::f16::from_f32(value).to_le_bytes())
        .collect();
    assert_eq!(half.tensor("latents").unwrap().data(), rounded);
    assert_eq!(
        half.tensor("scores").unwrap(),
        full.tensor("scores").unwrap()
    );
}

/// The files of a collection with their bytes.
fn shards(desk: &Desk, folder: &str) -> Vec<(String, Vec<u8>)> {
    let files = desk.files().into_iter();
    files
        .filter(|name| name.ends_with(".safetensors") || name.ends_with(".json"))
        .filter_map(|file| Some((file.strip_prefix(folder)?.to_owned(), desk.read(&file))))
        .collect()
}

#[test]
fn killed_and_resumed_it_writes_the_same_bytes() {
    let desk = desk();
    let more = ["--samples", "10", "--shard", "4"];
    desk.works(&collect(
        "whole/",
        &[&more[..], &["--threads", "1"]].concat(),
    ));
    let mut child = Command::new(env!("CARGO_BIN_EXE_ttsvar"))
        .args(collect("part/", &more))
        .current_dir(desk.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        sleep(Duration::from_millis(10));
        if shards(&desk, "part/").len() >= 3 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = shards(&desk, "part/").len();
    assert!((3..=9).contains(&before), "{before}");
    desk.write("part/.ttsvar-left.part", "left behind");

    let refused = desk.run(&collect("part/", &more));
    assert!(refused.err.contains("--resume"), "{refused:?}");
    for (other, what) in [
        (
            vec!["--samples", "11", "--shard", "4"],
            "number of samples per prompt",
        ),
        (
            vec!["--samples", "10", "--shard", "5"],
            "number of samples per shard",
        ),
        (
            [&more[..], &["--cfg", "2"]].concat(),
            "model or its settings",
        ),
        (
            [&more[..], &["--latents", "f32"]].concat(),
            "type of latents",
        ),
        ([&more[..], &["--images"]].concat(), "setting of --images"),
        ([&more[..], &["--scales", "3"]].concat(), "list of scales"),
    ] {
        let refused = desk.run(&collect("part/", &[&other[..], &["--resume"]].concat()));
        let expected = format!("contains a collection with a different {what}");
        assert!(refused.err.contains(&expected), "{refused:?}");
    }
    desk.works(&collect("part/", &[&more[..], &["--resume"]].concat()));
    assert_eq!(shards(&desk, "part/"), shards(&desk, "whole/"));
    assert!(!desk.files().contains(&"part/.ttsvar-left.part".to_owned()));

    let done = desk.works(&collect(
        "part/",
        &[&more[..], &["--resume", "--json"]].concat(),
    ));
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(
        (done["samples"].as_u64(), done["drawn"].as_u64()),
        (Some(30), Some(0))
    );
}

#[test]
fn damaged_folders_are_refused() {
    let desk = desk();
    let refused = desk.refuses(&collect("none", &["--resume"]));
    assert!(
        refused.contains("none: no collection to resume"),
        "{refused}"
    );
    desk.works(&collect("pairs", &["--scales", "2"]));
    let name = "pairs/pairs-00000000-00000002.safetensors";
    let whole = desk.read(name);
    let resume = collect("pairs", &["--scales", "2", "--resume"]);
    let mut longer = whole.clone();
    longer.push(0);
    let other = desk_of_other_prompts();
    let damaged: [(&[u8], &str); 5] = [
        (&whole[..whole.len() - 1], "expected a shard of"),
        (&longer, "expected a shard of"),
        (&whole[..20], "not a complete shard"),
        (b"", "not a complete shard"),
        (&other, "holds other samples"),
    ];
    for (bytes, expected) in damaged {
        desk.write(name, bytes);
        let refused = desk.refuses(&resume);
        assert!(refused.contains(expected), "{refused}");
    }
    desk.write(name, &whole);
    desk.write("pairs/collect.json", "{}");
    let refused = desk.refuses(&resume);
    assert!(
        refused.contains("expected the settings of a collection"),
        "{refused}"
    );
}

/// A valid shard of other prompts.
fn desk_of_other_prompts() -> Vec<u8> {
    let desk = Desk::new();
    desk.write("list.txt", "a star\na ring\na cross\n");
    desk.works(&collect("pairs", &["--scales", "2"]));
    desk.read("pairs/pairs-00000000-00000002.safetensors")
}

#[test]
fn what_cannot_be_collected_is_refused() {
    let desk = desk();
    desk.write(
        "wrong.txt",
        "a ring\n{\"prompt\": \"a\", \"caption\": \"b\"}\n",
    );
    desk.write(
        "blank.txt",
        "{\"prompt\": \"a ring\", \"captions\": [\" \"]}\n",
    );
    let cases = [
        (
            vec!["collect", "--prompts", "wrong.txt"],
            "prompt 2: expected a prompt or a JSON object",
        ),
        (
            vec!["collect", "--prompts", "blank.txt"],
            "a caption of prompt 1 is empty",
        ),
        (collect("a", &["--samples", "0"]), "--samples is 0"),
        (collect("a", &["--shard", "0"]), "--shard is 0"),
        (collect("a", &["--scales", "7"]), "there is no scale 7"),
        (
            collect("a", &["--latents", "f8"]),
            "unknown type of latents `f8`",
        ),
    ];
    for (arguments, expected) in cases {
        let refused = desk.refuses(&arguments);
        assert!(refused.contains(expected), "{refused}");
    }
}
