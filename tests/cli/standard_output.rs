//! `-o -` and the like: one file on standard output, and nothing else there.

use std::process::Command;

use ttsvar::image::Png;

use crate::desk::Desk;

/// Runs the program; returns its standard output as bytes, which must be all that it leaves.
fn piped(desk: &Desk, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_ttsvar"))
        .current_dir(desk.path(""))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let note = String::from_utf8_lossy(&output.stderr);
    assert!(
        note.starts_with("note: ") && note.contains(": score "),
        "{output:?}"
    );
    assert_eq!(note.lines().count(), 1);
    assert_eq!(desk.files(), Vec::<String>::new());
    output.stdout
}

#[test]
fn an_image_a_trace_or_a_page_can_be_piped() {
    let desk = Desk::new();
    let search = ["generate", "a red circle", "--method", "raw", "--seed", "3"];
    let image = piped(&desk, &[&search[..], &["-o", "-"]].concat());
    assert_eq!(
        Png::decode(&image).unwrap().text("ttsvar:prompt"),
        Some("a red circle")
    );
    let other = Desk::new();
    other.works(&[&search[..], &["-o", "a.png"]].concat());
    assert_eq!(image, other.read("a.png"));

    let folder = other.path("").display().to_string();
    let trace = piped(
        &desk,
        &[&search[..], &["-o", &folder, "--trace", "-"]].concat(),
    );
    assert!(ttsvar::search::Trace::from_json(std::str::from_utf8(&trace).unwrap()).is_ok());
    let tree = piped(
        &desk,
        &[&search[..], &["-o", &folder, "--tree", "-"]].concat(),
    );
    assert!(Png::decode(&tree).is_ok());
    let page = piped(
        &desk,
        &[&search[..], &["-o", &folder, "--report", "-"]].concat(),
    );
    assert!(page.starts_with(b"<!DOCTYPE html>"));
}

#[test]
fn what_cannot_be_one_file_is_refused() {
    let desk = Desk::new();
    desk.write("list.txt", "a ring\na star\n");
    for (arguments, message) in [
        (
            &["generate", "a ring", "-o", "-", "--trace", "-"][..],
            "only one result",
        ),
        (
            &["generate", "a ring", "-o", "-", "--json"],
            "--json and a file",
        ),
        (
            &["generate", "a ring", "--trace", "-", "--json"],
            "--json and a file",
        ),
        (
            &["generate", "--prompts", "list.txt", "-o", "-"],
            "several results",
        ),
        (&["eval", "scenes", "--out", "-"], "expected a folder"),
        (&["eval", "geneval", "--out", "-"], "expected a folder"),
        (
            &["eval", "compbench", "--prompts", ".", "-o", "-"],
            "expected a folder",
        ),
        (
            &["models", "fetch", "hps", "--weights", "-"],
            "expected a folder",
        ),
        #[cfg(feature = "server")]
        (&["serve", "--folder", "-"], "expected a folder"),
    ] {
        let refused = desk.refuses(arguments);
        assert!(refused.contains(message), "{refused}");
    }
}
