//! FlexAR as it is typed: images and their records, evaluations, plans without weights, and what is
//! refused.

use insta::assert_snapshot;
use serde_json::{Value, json};
use ttsvar::{
    hub::Bundle,
    models::{flexar, flextok},
    request::Recorded,
};

use crate::{
    desk::Desk,
    support::{flexar as bundle, golden, json as recorded_json},
};

/// A desk with the recorded FlexAR of texts as `bundle`, and that of classes as `classes`.
fn desk() -> Desk {
    let desk = Desk::new();
    bundle::write_bundle(&desk.path("bundle"), "t2i");
    bundle::write_bundle(&desk.path("classes"), "c2i");
    desk
}

/// Flags of a short search.
const SHORT: [&str; 6] = ["--model", "bundle", "--method", "raw", "--seed", "5"];

#[test]
fn an_image_records_its_settings_and_is_repeated() {
    let desk = desk();
    let more = [
        "--decoder-steps",
        "3",
        "--as-released",
        "-q",
        "--out",
        "a.png",
    ];
    desk.works(&[&["generate", "two green stars"], &SHORT[..], &more].concat());
    let recorded = Recorded::open(&desk.path("a.png")).unwrap();
    assert_eq!(recorded.options.cfg, Some(3.0.into()));
    assert_eq!(recorded.options.decoder_steps, Some(3));
    assert_eq!(recorded.options.decoder_cfg, Some(7.5));
    assert_eq!(recorded.options.as_released, Some(true));
    desk.works(&["generate", "--from", "a.png", "-q", "--out", "b.png"]);
    assert_eq!(desk.read("a.png"), desk.read("b.png"));
}

#[test]
fn classes_are_generated_too() {
    let desk = desk();
    let flags = ["--model", "classes", "--method", "lookahead", "--n", "2"];
    let class = [
        "generate", "--class", "3", "--seed", "5", "-q", "--out", "a.png",
    ];
    desk.works(&[&class[..], &flags].concat());
    let recorded = Recorded::open(&desk.path("a.png")).unwrap();
    assert_eq!(recorded.options.cfg, Some(1.5.into()));
    assert_eq!(recorded.prompt, "a photo of a class 3");
}

#[test]
fn methods_are_evaluated() {
    let desk = desk();
    let flags = [
        "--model",
        "bundle",
        "--prompts",
        "6",
        "--samples",
        "1",
        "--n",
        "2",
    ];
    let methods = ["--methods", "raw,beam,lookahead", "--decoder-steps", "2"];
    let eval = ["eval", "scenes", "--out", "results", "-q"];
    desk.works(&[&eval[..], &flags, &methods].concat());
    assert!(desk.path("results").is_dir());
}

#[test]
fn options_of_other_families_and_sizes_are_refused() {
    let desk = desk();
    let refuses =
        |more: &[&str]| desk.refuses(&[&["generate", "a star"], &SHORT[..], more].concat());
    let cases: [&[&str]; 5] = [
        &["--steer", "auto"],
        &["--more-smooth"],
        &["--pixels", "1M"],
        &["--decoder-steps", "0"],
        &["--preview-steps", "5000"],
    ];
    assert_snapshot!(cases.map(refuses).join("\n"), @r#"
    $ generate "a star" --model bundle --method raw --seed 5 --steer auto
    error: --steer is not an option of FlexAR
    hint: leave --steer out

    $ generate "a star" --model bundle --method raw --seed 5 --more-smooth
    error: --more-smooth is not an option of FlexAR
    hint: leave --more-smooth out

    $ generate "a star" --model bundle --method raw --seed 5 --pixels 1M
    error: `flexar-tiny` only generates images of 80 x 80 pixels
    hint: leave --aspect and --pixels out

    $ generate "a star" --model bundle --method raw --seed 5 --decoder-steps 0
    error: decoder-steps must be from 1 to 1000, found 0
    hint: a typical value is 25; fewer steps are faster

    $ generate "a star" --model bundle --method raw --seed 5 --preview-steps 5000
    error: preview-steps must be from 1 to 1000, found 5000
    hint: a typical value is 25; fewer steps are faster
    "#);
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    let desk = desk();
    let toml = std::fs::read_to_string(desk.path("bundle/bundle.toml")).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(toml.contains(from), "{from}");
        desk.write("bundle/bundle.toml", toml.replace(from, to));
        desk.refuses(&[&["generate", "a star"], &SHORT[..]].concat())
    };
    let cases = [
        ("family = \"flexar\"", "family = \"flexar-class\""),
        ("vae = ", "scales = [[1, 1]]\nvae = "),
        ("vae = ", "prefixes = [4, 4]\nvae = "),
        ("vae_groups = 8", "vae_groups = 0"),
        ("\nvae_groups = 8", ""),
    ];
    assert_snapshot!(cases.map(|(from, to)| refused(from, to)).join("\n"), @r#"
    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle/bundle.toml: the family `flexar-class` has no text encoder
    hint: remove [text]

    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle/bundle.toml: `scales` are not for the families of FlexAR, which have `prefixes`
    hint: remove `scales`

    $ generate "a star" --model bundle --method raw --seed 5
    error: prefixes of [4, 4] tokens, but an image has 10
    hint: each of `prefixes` is longer than the one before, the last at most 10

    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle/bundle.toml: `vae_groups` must be at least 1
    hint: leave it out for 32, as in the published models

    $ generate "a star" --model bundle --method raw --seed 5
    error: bundle/flextok/model.safetensors: tensor `vae.vae.decoder.mid.attn_1.norm.weight`: expected a number of channels that the groups divide, found 16
    hint: is this the right file for this model? `ttsvar models` names the files of each model
    "#);
}

/// Without `config.json`, the settings come from the metadata of the weights.
#[test]
fn settings_may_be_metadata_of_the_weights() {
    let desk = desk();
    let make = |to: &str| {
        let flags = ["--decoder-steps", "2", "-q", "--out", to];
        desk.works(&[&["generate", "a star"], &SHORT[..], &flags].concat());
        desk.read(to)
    };
    let by_file = make("a.png");
    std::fs::remove_file(desk.path("bundle/flextok/config.json")).unwrap();
    assert_eq!(make("b.png"), by_file);
}

#[test]
fn released_models_are_planned_without_weights() {
    let desk = Desk::new();
    let plan = |model: &str, more: &[&str]| -> Value {
        let flags = ["plan", "--json", "best-of-n", "--n", "2", "--model", model];
        let said = desk.run(&[&flags[..], more].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    };
    for model in ["flexar-1b", "flexar-1b-class"] {
        let planned = plan(model, &[]);
        let grids = planned["scales"].as_array().unwrap();
        assert_eq!(grids.len(), 9);
        assert_eq!(grids[8]["grid"], json!([1, 128]));
    }
    let flops = |more: &[&str]| {
        let planned = plan("flexar-1b", more);
        planned["flops"]["generator"].as_f64().unwrap()
    };
    // The decoder takes nearly all of it.
    let share = flops(&["--decoder-steps", "5"]) / flops(&[]);
    assert!((0.2..0.35).contains(&share), "{share}");
    let share = flops(&["--decoder-cfg", "1"]) / flops(&[]);
    assert!((0.5..0.6).contains(&share), "{share}");
}

/// The folders as they are published, in the cache of Hugging Face or by their names.
#[test]
fn released_folders_are_found() {
    let desk = Desk::new();
    let files = &recorded_json("flextok-tiny", "config.json")["files"];
    let copy = |part: &str, to: &str| {
        let from = golden("flextok-tiny").join(files[part].as_str().unwrap());
        std::fs::create_dir_all(desk.path(to)).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap();
            std::fs::copy(&file, desk.path(to).join(name)).unwrap();
        }
    };
    copy(
        "t2i",
        "weights/models--EPFL-VILAB--FlexAR-1B-T2I/snapshots/1",
    );
    copy("tokenizer", "weights/flextok_d18_d28_dfn");
    copy("text", "weights/flan-t5-xl");
    let bundle = Bundle::released("flexar-1b", &desk.path("weights")).unwrap();
    let missing = bundle.missing(&[]).unwrap();
    assert!(
        missing.iter().all(|name| name.contains("dinov2")),
        "{missing:?}"
    );
    assert!(bundle.generator_weights(&flexar::SIGNATURE).is_ok());
    assert!(bundle.generator_yaml().is_ok());
    assert!(bundle.vae_weights(&flextok::SIGNATURE).is_ok());
    assert!(bundle.vae_settings().is_ok());
}

#[test]
fn a_missing_model_is_named_with_what_downloads_it() {
    let desk = Desk::new();
    let missing = desk.refuses(&["generate", "a star", "--model", "flexar-1b"]);
    assert!(
        missing.contains("`ttsvar models fetch flexar-1b` downloads"),
        "{missing}"
    );
}
