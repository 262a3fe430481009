//! Weights from a training run or with settings beside them: the right tensors are read, a choice is
//! reported, and what does not belong together is refused.

use std::{collections::HashMap, fs};

use candle_core::{Tensor, safetensors};
use ttsvar::hub;

use crate::{
    desk::{Desk, Said, demo},
    support::golden,
};

const GENERATOR: &str = "bundle/infinity.pth";

/// The tensors of the demo's transformer, each changed.
fn tensors(change: impl Fn(&str, Tensor) -> Vec<(String, Tensor)>) -> HashMap<String, Tensor> {
    let source = hub::open(demo().join("infinity.pth"), &[]).unwrap();
    let names = source.names().into_iter();
    names
        .flat_map(|name| change(&name, source.load(&name).unwrap()))
        .collect()
}

fn generate(desk: &Desk, out: &str, more: &[&str]) -> Said {
    let mut arguments = vec![
        "generate",
        "a red circle",
        "--method",
        "raw",
        "--seed",
        "3",
        "--model",
        "bundle",
        "--out",
        out,
    ];
    arguments.extend(more);
    desk.run(&arguments)
}

/// An image to score.
fn make_image(desk: &Desk) {
    desk.works(&[
        "generate",
        "a red circle",
        "--method",
        "raw",
        "--seed",
        "3",
        "-q",
        "--out",
        "a.png",
    ]);
}

/// Scores that image with the CLIP in `weights`.
fn score(desk: &Desk) -> Said {
    desk.run(&[
        "score",
        "a.png",
        "--weights",
        "weights",
        "--scorer",
        "clip",
        "--prompt",
        "a cat",
    ])
}

#[test]
fn of_a_model_and_its_average_the_model_is_read_and_the_other_can_be_chosen() {
    let desk = Desk::with_demo();
    let plain = generate(&desk, "plain.png", &[]);
    assert_eq!((plain.code, plain.err.as_str()), (Some(0), ""));
    let both = tensors(|name, tensor| {
        let average = (&tensor * 0.5).unwrap();
        vec![
            (format!("ema.{name}"), average),
            (format!("model.{name}"), tensor),
        ]
    });
    safetensors::save(&both, desk.path(GENERATOR)).unwrap();
    let said = generate(&desk, "model.png", &[]);
    assert_eq!(
        said.err,
        "note: bundle/infinity.pth: using the state dict at `model`; `ema` would fit too; \
         --state-dict ema reads the other\n"
    );
    assert_eq!(desk.png("model.png").image, desk.png("plain.png").image);

    let said = generate(&desk, "ema.png", &["--state-dict", "ema"]);
    assert_eq!(
        said.err,
        "note: bundle/infinity.pth: using the state dict at `ema`; `model` would fit too\n"
    );
    assert_ne!(desk.png("ema.png").image, desk.png("plain.png").image);
    assert!(
        desk.works(&["inspect", "ema.png"])
            .contains("state_dict ema")
    );
    let again = desk.run(&["generate", "--from", "ema.png", "--out", "again.png"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(desk.png("again.png").image, desk.png("ema.png").image);

    let refused = generate(&desk, "x.png", &["--state-dict", "swa"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.err.contains("no checkpoint has a state dict `swa`"),
        "{}",
        refused.err
    );

    let toml = desk.text("bundle/bundle.toml");
    desk.write(
        "bundle/bundle.toml",
        format!("state_dict = \"ema\"\n{toml}"),
    );
    generate(&desk, "by-bundle.png", &[]);
    assert_eq!(desk.png("by-bundle.png").image, desk.png("ema.png").image);
}

#[test]
fn a_prefix_that_all_names_share_is_taken_off_and_reported() {
    let desk = Desk::with_demo();
    generate(&desk, "plain.png", &[]);
    let wrapped = tensors(|name, tensor| vec![(format!("module._orig_mod.{name}"), tensor)]);
    safetensors::save(&wrapped, desk.path(GENERATOR)).unwrap();
    let said = generate(&desk, "wrapped.png", &[]);
    assert_eq!(
        said.err,
        "note: bundle/infinity.pth: using the tensors under `module`\n"
    );
    assert_eq!(desk.png("wrapped.png").image, desk.png("plain.png").image);
}

#[test]
fn numbers_that_are_not_finite_make_no_image() {
    let desk = Desk::with_demo();
    let broken = tensors(|name, tensor| {
        let number = match name {
            "head.weight" => f64::NAN,
            _ => 1.0,
        };
        vec![(name.to_owned(), (tensor * number).unwrap())]
    });
    safetensors::save(&broken, desk.path(GENERATOR)).unwrap();
    for method in ["raw", "tts-var"] {
        let said = desk.run(&[
            "generate", "star", "--model", "bundle", "--method", method, "--out", "x.png",
        ]);
        assert_eq!(said.code, Some(2));
        assert!(
            said.err
                .contains("tensor `head.weight`: expected finite numbers, found NaN at element 0"),
            "{}",
            said.err
        );
        assert!(!desk.files().contains(&"x.png".to_owned()));
    }
    // Finite weights whose products are not
    let huge = tensors(|name, tensor| {
        let factor = match name {
            "head.weight" => 1e38,
            _ => 1.0,
        };
        vec![(
            name.to_owned(),
            (tensor * factor).unwrap().clamp(-3e38, 3e38).unwrap(),
        )]
    });
    safetensors::save(&huge, desk.path(GENERATOR)).unwrap();
    let said = generate(&desk, "x.png", &[]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err
            .contains("the logits of scale 0: expected finite numbers, found"),
        "{}",
        said.err
    );
    assert!(!desk.files().contains(&"x.png".to_owned()));
}

#[test]
fn the_decoder_of_another_release_is_refused_by_its_name() {
    let desk = Desk::with_demo();
    let toml = desk.text("bundle/bundle.toml");
    let renamed = toml
        .replace("infinity.pth", "infinity_2b_reg.pth")
        .replace("infinity_vae.pth", "infinity_vae_d32.pth");
    desk.write("bundle/bundle.toml", renamed);
    fs::rename(
        desk.path(GENERATOR),
        desk.path("bundle/infinity_2b_reg.pth"),
    )
    .unwrap();
    let decoder = desk.path("bundle/infinity_vae_d32.pth");
    fs::rename(desk.path("bundle/infinity_vae.pth"), decoder).unwrap();
    let said = generate(&desk, "x.png", &[]);
    assert_eq!(said.code, Some(2));
    assert_eq!(
        said.err,
        "error: bundle/infinity_vae_d32.pth: expected infinity_vae_d32reg.pth, which belongs to \
         this transformer, found infinity_vae_d32.pth (saved as `infinity_vae_d32.pth`)\n\
         hint: download infinity_vae_d32reg.pth; a different decoder produces bad images without any \
         error\n"
    );
}

#[test]
fn scales_begin_with_a_single_token() {
    let desk = Desk::with_demo();
    let toml = desk.text("bundle/bundle.toml");
    let begin = toml.find("scales = ").unwrap();
    let end = begin + toml[begin..].find('\n').unwrap();
    // A latent verifier would not fit a single scale either.
    let verifier = toml.find("[verifier]").unwrap()..toml.find("[defaults]").unwrap();
    let other = toml
        .replace(&toml[verifier], "")
        .replace(&toml[begin..end], "scales = [[8, 8]]");
    desk.write("bundle/bundle.toml", other);
    let said = generate(&desk, "x.png", &[]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err
            .contains("the first of `scales`: expected [1, 1], found [8, 8]"),
        "{}",
        said.err
    );
}

/// A scorer's own settings are followed, and what the program does not do is an error.
#[test]
fn settings_beside_a_scorer_are_followed_or_refused() {
    let desk = Desk::new();
    let folder = "weights/clip-vit-large-patch14";
    desk.copy(&golden("clip-tiny").join("model"), folder);
    make_image(&desk);
    let score = || score(&desk);
    let published = score();
    assert_eq!(published.code, Some(0), "{}", published.err);
    let name = format!("{folder}/preprocessor_config.json");
    let config: serde_json::Value = serde_json::from_slice(&desk.read(&name)).unwrap();
    let with = |key: &str, value: serde_json::Value| {
        let mut config = config.clone();
        config[key] = value;
        desk.write(&name, config.to_string());
        score()
    };
    let other_mean = with("image_mean", serde_json::json!([0.0, 0.0, 0.0]));
    assert_eq!(other_mean.code, Some(0), "{}", other_mean.err);
    assert_ne!(other_mean.out, published.out);
    let refused = with("do_center_crop", false.into());
    assert_eq!(refused.code, Some(2));
    assert!(
        refused
            .err
            .contains("preprocessor_config.json: `do_center_crop`: expected true"),
        "{}",
        refused.err
    );
}

/// `refs/main` says which revision of a cache is current.
#[test]
fn the_current_revision_of_a_cache_is_read() {
    let desk = Desk::new();
    let repository = "weights/models--openai--clip-vit-large-patch14";
    for revision in ["aaaa", "bbbb"] {
        let folder = format!("{repository}/snapshots/{revision}");
        desk.copy(&golden("clip-tiny").join("model"), &folder);
    }
    let damaged = format!("{repository}/snapshots/aaaa/config.json");
    desk.write(&damaged, "not a configuration");
    make_image(&desk);
    let score = || score(&desk);
    assert!(
        score().err.contains("aaaa"),
        "without a reference the first is read"
    );
    fs::create_dir_all(desk.path(&format!("{repository}/refs"))).unwrap();
    desk.write(&format!("{repository}/refs/main"), "bbbb\n");
    let current = score();
    assert_eq!((current.code, current.err.as_str()), (Some(0), ""));
    fs::remove_dir_all(desk.path(&format!("{repository}/refs"))).unwrap();
    let good = desk.read(&format!("{repository}/snapshots/bbbb/config.json"));
    desk.write(&damaged, good);
    assert!(
        score().err.contains(
            "snapshots/aaaa: using this one of 2 revisions, because refs/main names none"
        ),
    );
    fs::create_dir_all(desk.path(&format!("{repository}/refs"))).unwrap();
    desk.write(&format!("{repository}/refs/main"), "bbbb");
    fs::remove_file(desk.path(&format!("{repository}/snapshots/bbbb/tokenizer.json"))).unwrap();
    let incomplete = score();
    assert_eq!(incomplete.code, Some(2));
    assert!(
        incomplete
            .err
            .contains("snapshots/bbbb/tokenizer.json (Hugging Face openai/"),
        "{}",
        incomplete.err
    );
}

#[test]
fn a_limit_of_memory_that_cannot_be_kept_is_refused_at_the_start() {
    let desk = Desk::new();
    for command in [
        &["serve", "--port", "0"][..],
        &["eval", "scenes", "--prompts", "1"],
        &["generate", "star"],
    ] {
        let arguments = [command, &["--memory", "1M"]].concat();
        let said = desk.run(&arguments);
        assert_eq!(said.code, Some(2), "{command:?}: {}", said.err);
        assert!(
            said.err.contains("needs at least") && said.err.contains("the limit is 1.0 MB"),
            "{}",
            said.err
        );
    }
}
