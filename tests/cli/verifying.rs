//! Latent verifiers in bundles: what a damaged or unsuitable one is refused with.

use std::collections::HashMap;

use candle_core::{Device, Tensor, safetensors};
use serde_json::Value;

use crate::desk::{Desk, demo};

const FILE: &str = "bundle/verifier.safetensors";

fn tensors() -> HashMap<String, Tensor> {
    safetensors::load(demo().join("verifier.safetensors"), &Device::Cpu).unwrap()
}

/// A copy of the demo with other tensors of its verifier.
fn desk_with(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> Desk {
    let desk = Desk::with_demo();
    let mut tensors = tensors();
    change(&mut tensors);
    safetensors::save(&tensors, desk.path(FILE)).unwrap();
    desk
}

const GENERATE: [&str; 8] = [
    "generate",
    "a red circle",
    "--model",
    "bundle",
    "--method",
    "raw",
    "--out",
    "a.png",
];

#[test]
fn damaged_verifiers_are_refused() {
    let width =
        |rows: usize| Tensor::zeros((rows, 128), candle_core::DType::F32, &Device::Cpu).unwrap();
    type Change = Box<dyn FnOnce(&mut HashMap<String, Tensor>)>;
    let cases: [(Change, &str); 5] = [
        (Box::new(|t| drop(t.remove("norm.weight"))), "norm.weight"),
        (
            Box::new(move |t| drop(t.insert("pos_embed".into(), width(65)))),
            "pos_embed",
        ),
        (
            Box::new(move |t| drop(t.insert("pos_embed".into(), width(63).unsqueeze(0).unwrap()))),
            "square grid",
        ),
        (
            Box::new(move |t| drop(t.insert("blocks.1.mlp.fc1.weight".into(), width(3)))),
            "blocks.1.mlp.fc1",
        ),
        (
            Box::new(move |t| drop(t.insert("scale_embed.weight".into(), width(2)))),
            "trained for 2 scales",
        ),
    ];
    for (change, expected) in cases {
        let refused = desk_with(change).refuses(&GENERATE);
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
}

/// Numbers are read only for a search that uses them.
#[test]
fn a_verifier_with_nan_is_refused_where_it_is_used() {
    let desk = desk_with(|t| {
        let values = t["cls_token"].to_dtype(candle_core::DType::F32).unwrap();
        t.insert("cls_token".into(), (values * f64::NAN).unwrap());
    });
    assert_eq!(desk.run(&GENERATE).code, Some(0));
    let with_verifier = GENERATE.map(|word| match word {
        "raw" => "draft",
        other => other,
    });
    let refused = desk.refuses(&with_verifier);
    assert!(refused.contains("NaN"), "{refused}");
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let desk = Desk::with_demo();
    for bytes in [&b""[..], b"\x08\0\0\0\0\0\0\0{}", b"not weights at all"] {
        desk.write(FILE, bytes);
        desk.refuses(&GENERATE);
    }
    std::fs::remove_file(desk.path(FILE)).unwrap();
    let refused = desk.refuses(&GENERATE);
    assert!(refused.contains("verifier.safetensors"), "{refused}");
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let desk = Desk::with_demo();
    let toml = desk.text("bundle/bundle.toml");
    let start = toml.find("[verifier]").unwrap();
    let end = start + toml[start..].find("\n\n").unwrap();
    let cases = [
        (
            "predicts = \"hps\"\nscales = [3]",
            "must be the family of one of the bundle's scorers",
        ),
        (
            "predicts = \"demo-reward\"\nscales = []",
            "must list at least one scale",
        ),
        (
            "predicts = \"demo-reward\"\nscales = [3, 6]",
            "must come before the last scale, 6",
        ),
        (
            "predicts = \"demo-reward\"\nscales = [3]\nabove = nan",
            "must be a finite number",
        ),
        (
            "predicts = \"demo-reward\"\nscales = [3]\nheads = 4",
            "unknown field `heads`",
        ),
        ("predicts = \"demo-reward\"", "missing field `scales`"),
    ];
    for (table, expected) in cases {
        let table = format!("[verifier]\nweights = \"verifier.safetensors\"\n{table}");
        desk.write(
            "bundle/bundle.toml",
            format!("{}{table}{}", &toml[..start], &toml[end..]),
        );
        let refused = desk.refuses(&GENERATE);
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_search_uses_it_and_says_so() {
    let desk = Desk::new();
    desk.write(
        "plan.toml",
        "start = 8\n[[stage]]\nscale = 3\nwidth = 2\nselect = { top = 2 }\nverifier = \"latent\"\n",
    );
    let run = |more: &[&str]| {
        let base = [
            "generate",
            "a red circle",
            "--plan",
            "plan.toml",
            "--seed",
            "1",
            "--json",
        ];
        desk.run(&[&base[..], &["--out", "a.png"], more].concat())
    };
    let found: Value = serde_json::from_str(&run(&[]).out).unwrap();
    assert_eq!(found["cost"]["decodes"], 2);
    assert_eq!(found["cost"]["verifications"], 8);
    assert!(found["cost"]["flops"]["verifier"].as_f64().unwrap() > 0.0);

    let plan = desk.text("plan.toml").replace("scale = 3", "scale = 1");
    desk.write("plan.toml", plan);
    let found = run(&[]);
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.err.contains("scale 1"), "{found:?}");
}
