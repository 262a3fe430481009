//! The examples, run as they are.
//!
//! Cargo builds every example before it runs the tests, beside the folder of the test programs.

use std::{env, fs, path::PathBuf, process::Command};

use ttsvar::image::Png;

/// Runs an example with a path to write to; what it prints, and the picture.
fn example(name: &str) -> (String, Png) {
    let program = built(name);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    let output = Command::new(&program)
        .arg(&out)
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    (
        String::from_utf8(output.stdout).unwrap(),
        Png::open(&out).unwrap(),
    )
}

/// The example beside this test: `target/PROFILE/examples`, where the test is in
/// `target/PROFILE/deps`.
fn built(name: &str) -> PathBuf {
    let profile = env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    let program = profile
        .join("examples")
        .join(name)
        .with_extension(env::consts::EXE_EXTENSION);
    if !program.is_file() {
        // Only `cargo test --test cli` leaves the examples out.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--examples",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        cargo.args((!cfg!(debug_assertions)).then_some("--release"));
        assert!(cargo.status().unwrap().success());
    }
    program
}

#[test]
fn generate_saves_the_best_image() {
    let (said, png) = example("generate");
    assert!(
        said.contains("out.png: score ") && said.contains(" decodes"),
        "{said}"
    );
    assert!(png.image.width() > 0);
}

#[test]
fn custom_scorer_keeps_what_its_own_judge_likes_best() {
    let (said, png) = example("custom_scorer");
    let number = |line: &str| line.rsplit(' ').next().unwrap().parse::<f32>().unwrap();
    let scores: Vec<f32> = said
        .lines()
        .filter(|line| line.starts_with("candidate"))
        .map(number)
        .collect();
    assert_eq!(scores.len(), 4, "{said}");
    assert_eq!(
        said.lines().last().map(number),
        scores.iter().copied().reduce(f32::max),
        "{said}"
    );
    assert!(png.image.width() > 0);
}
