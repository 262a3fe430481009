//! Bundles with a damaged file: each is refused before anything is written, and nothing in it is
//! run.

use std::{collections::HashMap, fs};

use candle_core::{DType, Device, Tensor, safetensors};
use insta::assert_snapshot;

use crate::{
    desk::Desk,
    support::torch::{Pickle, archive, single_tensor_file},
};

const PARTS: [&str; 5] = [
    "infinity.pth",
    "infinity_vae.pth",
    "t5/model.safetensors",
    "ImageReward.pt",
    "dinov2.pth",
];

/// What is said to the bundle, for a search that needs all of its files.
fn refused(desk: &Desk) -> String {
    desk.refuses(&[
        "generate",
        "a red circle",
        "--method",
        "tts-var",
        "--model",
        "bundle",
        "--out",
        "a.png",
    ])
}

/// What is said to the bundle when one file holds these bytes.
fn refused_with(desk: &Desk, part: &str, bytes: &[u8]) -> String {
    let name = format!("bundle/{part}");
    let whole = desk.read(&name);
    desk.write(&name, bytes);
    let said = refused(desk);
    desk.write(&name, whole);
    assert!(said.contains(part), "{said}");
    said
}

#[test]
fn a_copy_of_the_demo_paints_what_the_demo_paints() {
    let desk = Desk::with_demo();
    let paint = |model: &str, out: &str| {
        desk.works(&[
            "generate",
            "a red circle",
            "--method",
            "raw",
            "--seed",
            "3",
            "--model",
            model,
            "--out",
            out,
            "-q",
        ])
    };
    paint("bundle", "copy.png");
    paint("demo", "demo.png");
    assert_eq!(desk.png("copy.png").image, desk.png("demo.png").image);
}

#[test]
fn missing_files_are_named() {
    let desk = Desk::with_demo();
    for part in PARTS {
        let name = format!("bundle/{part}");
        let whole = desk.read(&name);
        fs::remove_file(desk.path(&name)).unwrap();
        let said = refused(&desk);
        assert!(
            (said.contains("missing") || said.contains("no weight file"))
                && said.contains(part.split('/').next().unwrap()),
            "{said}"
        );
        desk.write(&name, whole);
    }
}

#[test]
fn truncated_files_are_named() {
    let desk = Desk::with_demo();
    for part in PARTS {
        let whole = desk.read(&format!("bundle/{part}"));
        refused_with(&desk, part, &whole[..whole.len() / 2]);
        refused_with(&desk, part, b"");
    }
}

#[test]
fn foreign_files_are_named() {
    let desk = Desk::with_demo();
    for part in PARTS {
        refused_with(&desk, part, b"<html>404: there is nothing here</html>");
    }
    // Weights, but of another network.
    let other = desk.read("bundle/dinov2.pth");
    refused_with(&desk, "infinity.pth", &other);
    let other = desk.read("bundle/infinity.pth");
    refused_with(&desk, "dinov2.pth", &other);
    refused_with(
        &desk,
        "ImageReward.pt",
        &single_tensor_file(crate::support::torch::PLAIN),
    );
}

#[test]
fn a_tensor_of_the_wrong_shape_is_named() {
    let desk = Desk::with_demo();
    let path = desk.path("bundle/t5/model.safetensors");
    let mut tensors: HashMap<String, Tensor> = safetensors::load(&path, &Device::Cpu).unwrap();
    let name = "encoder.block.0.layer.1.DenseReluDense.wo.weight";
    assert!(
        tensors
            .insert(
                name.to_owned(),
                Tensor::zeros((3, 5), DType::F32, &Device::Cpu).unwrap()
            )
            .is_some()
    );
    safetensors::save(&tensors, &path).unwrap();
    let said = refused(&desk);
    assert!(said.contains(name) && said.contains("[3, 5]"), "{said}");
    tensors.remove(name);
    safetensors::save(&tensors, &path).unwrap();
    let said = refused(&desk);
    assert!(said.contains(name), "{said}");
}

#[test]
fn a_pickle_that_calls_something_is_refused_and_calls_nothing() {
    let desk = Desk::with_demo();
    let call = Pickle::new()
        .global("posix", "system")
        .raw(b"(")
        .text("touch called")
        .raw(b"tR")
        .end();
    let said = refused_with(&desk, "infinity.pth", &archive(&call, &[]));
    assert_snapshot!(said, @r#"
    $ generate "a red circle" --method tts-var --model bundle --out a.png
    error: bundle/infinity.pth: the pickle asks for `posix.system`; only tensors are loaded, and no code is ever run
    hint: if you trust the file, load it in Python and save only its tensors, preferably with `safetensors.torch.save_file`
    "#);
    assert!(!desk.path("called").exists());
}

#[test]
fn a_damaged_description_is_named() {
    let desk = Desk::with_demo();
    let text = desk.text("bundle/bundle.toml");
    let said = refused_with(
        &desk,
        "bundle.toml",
        text.replacen("[generator]", "[generatr]", 1).as_bytes(),
    );
    assert!(said.contains("generatr"), "{said}");
    refused_with(&desk, "bundle.toml", b"\xff\xfe");
}
