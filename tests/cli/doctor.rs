//! What the program says of the machine that it runs on.

use std::process::{Command, Output};

use serde_json::Value;

use crate::desk::Desk;

fn finding<'a>(said: &'a Value, name: &str) -> &'a Value {
    said["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["name"] == name)
        .unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn a_machine_that_passes_the_tests_is_found_to_work() {
    let said: Value = serde_json::from_str(&Desk::new().works(&["doctor", "--json"])).unwrap();
    assert_eq!(
        (&said["ok"], &said["version"]),
        (&true.into(), &env!("CARGO_PKG_VERSION").into())
    );
    for finding in said["findings"].as_array().unwrap() {
        assert!(
            finding["state"] == "ok" || (finding["state"] == "note" && finding["hint"].is_string()),
            "{finding}"
        );
    }
    let picture = &finding(&said, "image")["facts"];
    assert_eq!(
        (&picture["right"], &picture["found"]),
        (&true.into(), &"found 1 red circle".into())
    );
    assert_eq!(
        picture["same_bits"],
        picture["mean_difference"] == 0.0,
        "{picture}"
    );
    assert_eq!(finding(&said, "batch")["facts"], true);
    assert!(
        finding(&said, "speed")["facts"]["flops_per_second_and_thread"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    let kernels = &finding(&said, "kernels")["facts"]["chosen"];
    assert!(
        ["avx512bf16", "avx512", "avx2", "neon", "portable"]
            .iter()
            .any(|name| kernels == name),
        "{kernels}"
    );
}

/// The program with `TTSVAR_KERNELS` set.
fn with_kernels(name: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ttsvar"))
        .args(arguments)
        .env("TTSVAR_KERNELS", name)
        .output()
        .unwrap()
}

#[test]
fn kernels_can_be_chosen_by_name() {
    let said: Value =
        serde_json::from_slice(&with_kernels("portable", &["doctor", "--json"]).stdout).unwrap();
    let kernels = finding(&said, "kernels");
    assert_eq!(
        (&kernels["state"], &kernels["facts"]["forced"]),
        (&"note".into(), &true.into())
    );
    assert_eq!(kernels["facts"]["chosen"], "portable");
    assert_eq!(finding(&said, "image")["facts"]["right"], true);
}

#[test]
fn kernels_that_this_machine_lacks_are_refused() {
    let output = with_kernels("sse", &["models"]);
    assert_eq!((output.status.code(), output.stdout), (Some(2), vec![]));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("error: TTSVAR_KERNELS: expected ") && lines[0].contains("`portable`"),
        "{said}"
    );
    assert!(lines[0].ends_with(", found `sse`"), "{said}");
    assert_eq!(lines[1..], ["hint: leave it unset for the fastest"]);
}

#[test]
fn the_words_are_a_line_a_finding() {
    let said = Desk::new().works(&["doctor"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with(concat!("ttsvar ", env!("CARGO_PKG_VERSION"), ", ")),
        "{said}"
    );
    for name in [
        "processor",
        "kernels",
        "threads",
        "memory",
        "demo",
        "loading",
        "image",
        "batch",
        "speed",
    ] {
        let line = lines
            .iter()
            .find(|line| line.split_whitespace().nth(1) == Some(name));
        assert!(
            line.is_some_and(|line| line.starts_with("ok ") || line.starts_with("note ")),
            "{name}: {said}"
        );
    }
    let last = lines.last().unwrap();
    assert!(
        *last == "everything works" || last.starts_with("nothing is broken; "),
        "{last}"
    );
}

#[test]
fn weights_are_looked_for_and_a_missing_folder_is_broken() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("weights")).unwrap();
    desk.write("weights/infinity_vae_d32reg.pth", "");
    let said: Value =
        serde_json::from_str(&desk.works(&["doctor", "--json", "--weights", "weights"])).unwrap();
    let weights = finding(&said, "weights");
    assert_eq!(
        (&weights["state"], &weights["facts"]["folder"]),
        (&"note".into(), &"weights".into())
    );
    assert_eq!(
        weights["facts"]["incomplete"],
        serde_json::json!(["infinity-2b"])
    );
    let models = weights["facts"]["models"].as_array().unwrap();
    assert!(
        models
            .iter()
            .all(|model| !model["missing"].as_array().unwrap().is_empty()),
        "{weights}"
    );

    let said = desk.run(&["doctor", "--weights", "nowhere"]);
    assert_eq!(said.code, Some(1));
    for part in [
        "broken",
        "nowhere: no such folder",
        "hint: give the folder with the downloaded files",
        "something is broken",
    ] {
        assert!(said.out.contains(part), "{part} in {}", said.out);
    }
}
