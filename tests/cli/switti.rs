//! Switti as it is typed: images and their records, plans without weights, and what is refused.

use insta::assert_snapshot;
use serde_json::Value;
use ttsvar::{
    hub::Bundle, models::clip, models::switti::Switti, models::vq_vae, request::Recorded,
};

use crate::{
    desk::Desk,
    support::{golden, json, switti},
};

/// A desk with the recorded Switti as `bundle`.
fn desk() -> Desk {
    let desk = Desk::new();
    switti::write_bundle(&desk.path("bundle"), "switti");
    desk
}

/// Flags of a short search.
const SHORT: [&str; 6] = ["--model", "bundle", "--method", "raw", "--seed", "5"];

#[test]
fn an_image_records_its_settings_and_is_repeated() {
    let desk = desk();
    let prompt = "a red circle above a blue square";
    let more = [
        "--cfg",
        "0,6,6,0",
        "--negative",
        "blurry",
        "-q",
        "--out",
        "a.png",
    ];
    desk.works(&[&["generate", prompt], &SHORT[..], &more].concat());
    let recorded = Recorded::open(&desk.path("a.png")).unwrap();
    let typed = |text: &str| Some(text.parse().unwrap());
    assert_eq!(recorded.options.cfg, typed("0,6,6,0"));
    assert_eq!(recorded.options.tau, typed("1,1,1,0.1"));
    assert_eq!(recorded.options.more_smooth, Some(true));
    assert_eq!(recorded.options.top_k, Some(400));
    desk.works(&["generate", "--from", "a.png", "-q", "--out", "b.png"]);
    assert_eq!(desk.read("a.png"), desk.read("b.png"));
}

#[test]
fn options_of_other_families_and_sizes_are_refused() {
    let desk = desk();
    let refuses =
        |more: &[&str]| desk.refuses(&[&["generate", "a star"], &SHORT[..], more].concat());
    let cases: [&[&str]; 4] = [
        &["--steer", "auto"],
        &["--sampling", "tts-var"],
        &["--pixels", "1M"],
        &["--aspect", "2:1"],
    ];
    assert_snapshot!(cases.map(refuses).join("\n"), @r#"
    $ generate "a star" --model bundle --method raw --seed 5 --steer auto
    error: --steer is not an option of Switti
    hint: leave --steer out

    $ generate "a star" --model bundle --method raw --seed 5 --sampling tts-var
    error: --sampling is not an option of Switti
    hint: leave --sampling out

    $ generate "a star" --model bundle --method raw --seed 5 --pixels 1M
    error: `switti-tiny` only generates images of 28 x 28 pixels
    hint: leave --aspect and --pixels out

    $ generate "a star" --model bundle --method raw --seed 5 --aspect 2:1
    error: `switti-tiny` only generates images of 28 x 28 pixels
    hint: leave --aspect and --pixels out
    "#);
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    let desk = desk();
    let toml = std::fs::read_to_string(desk.path("bundle/bundle.toml")).unwrap();
    let second = "second = \"CLIP-ViT-bigG-14-laion2B-39B-b160k\"\n";
    assert!(toml.contains(second));
    let refused = |from: &str, to: &str| {
        desk.write("bundle/bundle.toml", toml.replace(from, to));
        desk.refuses(&[&["generate", "a star"], &SHORT[..]].concat())
    };
    let cases = [
        (second, ""),
        ("family = \"clip-pair\"", "family = \"t5\""),
        ("vae = ", "scales = [[1, 1]]\nvae = "),
        ("\"VQVAE-Switti\"", "\"nothing\""),
    ];
    assert_snapshot!(cases.map(|(from, to)| refused(from, to)).join("\n"), @r#"
    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle/bundle.toml: a text encoder of the family `clip-pair` needs the folder `second`
    hint: add `second` to [text]

    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle/bundle.toml: the family `switti` needs a text encoder of the family `clip-pair`
    hint: set family = "clip-pair" in [text]

    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle/bundle.toml: the family `switti` takes its scales from the weights
    hint: remove `scales`

    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle: 1 file is missing: nothing
    hint: put what is missing into the folder, or correct the names in its bundle.toml
    "#);
}

fn plan(desk: &Desk, flags: &[&str]) -> Value {
    let said = desk.run(&[&["plan", "--json"], flags].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn released_models_are_planned_without_weights() {
    let desk = Desk::new();
    let plan = |model: &str, n: &str, more: &[&str]| {
        let flags = ["best-of-n", "--n", n, "--model", model];
        plan(&desk, &[&flags[..], more].concat())
    };
    for (model, scales, side) in [("switti", 10, 32), ("switti-1024-ar", 14, 64)] {
        let planned = plan(model, "2", &[]);
        let grids = planned["scales"].as_array().unwrap();
        assert_eq!(grids.len(), scales);
        let last = &grids[scales - 1]["grid"];
        assert_eq!(*last, serde_json::json!([side, side]));
    }
    // With few rows at once, only the latents of a plain model grow with N.
    let peak = |model: &str, n: &str, limit: &str| {
        let planned = plan(model, n, &["--memory", limit]);
        planned["peak_bytes"].as_f64().unwrap()
    };
    let plain = peak("switti-1024", "64", "20G") / peak("switti-1024", "1", "20G");
    assert!(plain < 1.3, "{plain}");
    let flops = |model: &str, more: &[&str]| {
        let planned = plan(model, "1", more);
        planned["flops"]["generator"].as_f64().unwrap()
    };
    // The last three of 14 scales have four fifths of the tokens, and no guidance.
    let guided = flops("switti-1024", &["--cfg", "6"]);
    let released = flops("switti-1024", &[]);
    assert!(
        (0.55..0.65).contains(&(released / guided)),
        "{released} {guided}"
    );
}

#[test]
fn a_missing_model_is_named_with_what_downloads_it() {
    let desk = Desk::new();
    let missing = desk.refuses(&["generate", "a star", "--model", "switti-1024"]);
    assert!(
        missing.contains("`ttsvar models fetch switti-1024` downloads"),
        "{missing}"
    );
}

/// The folders as `from_pretrained` lays them out, in the cache of Hugging Face or by their names.
#[test]
fn released_folders_are_found() {
    let desk = Desk::new();
    let files = &json("switti-tiny", "config.json")["files"];
    let copy = |part: &str, to: &str| {
        let from = golden("switti-tiny").join(files[part].as_str().unwrap());
        std::fs::create_dir_all(desk.path(to)).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap();
            std::fs::copy(&file, desk.path(to).join(name)).unwrap();
        }
    };
    copy("switti", "weights/Switti");
    copy("vae", "weights/models--yresearch--VQVAE-Switti/snapshots/1");
    copy("clip_l", "weights/clip-vit-large-patch14");
    copy("clip_g", "weights/CLIP-ViT-bigG-14-laion2B-39B-b160k");
    let vae = desk.path("weights/models--yresearch--VQVAE-Switti/snapshots/1/config.json");
    std::fs::write(vae, "{}").unwrap();

    let bundle = Bundle::released("switti", &desk.path("weights")).unwrap();
    assert!(bundle.generator_config().is_ok());
    let missing = bundle.missing(&[]).unwrap();
    assert!(
        missing.iter().all(|name| name.contains("dinov2")),
        "{missing:?}"
    );
    assert!(bundle.generator_weights(&Switti::SIGNATURE).is_ok());
    assert!(bundle.vae_weights(&vq_vae::SIGNATURE).is_ok());
    let second = bundle.with_second_text().unwrap();
    for (bundle, layers) in [(&bundle, 2), (&second, 3)] {
        assert!(bundle.text_config().is_ok() && bundle.tokenizer().is_ok());
        let weights = bundle.text_weights(&clip::TextModel::SIGNATURE).unwrap();
        let last = format!("text_model.encoder.layers.{layers}.mlp.fc1.weight");
        assert!(weights.info(&last).is_none());
        let last = format!("text_model.encoder.layers.{}.mlp.fc1.weight", layers - 1);
        assert!(weights.info(&last).is_some());
    }
    assert!(second.with_second_text().is_err());
}
