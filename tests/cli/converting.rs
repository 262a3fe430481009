//! `ttsvar convert`: a model with matrices of 8 bits generates what the original generates in 8
//! bits.

use crate::{desk::Desk, support::flexar};

/// Converts `bundle` into `small`, and generates the same image with both.
fn converted_images_are_the_same(desk: &Desk) {
    let said = desk.works(&["convert", "bundle", "--to", "q8_0", "--out", "small", "-q"]);
    assert!(said.contains("small"), "{said}");
    let generate = |model: &str, out: &str| {
        desk.works(&[
            "generate",
            "a red circle",
            "--method",
            "best-of-n",
            "--n",
            "2",
            "--seed",
            "3",
            "--dtype",
            "q8",
            "--model",
            model,
            "--out",
            out,
            "-q",
        ]);
        desk.png(out).image
    };
    let before = generate("bundle", "a.png");
    assert!(before == generate("small", "b.png"));
}

#[test]
fn a_converted_model_generates_the_same_images_in_8_bits() {
    converted_images_are_the_same(&Desk::with_demo());
}

/// Its transformer and its text encoder are folders with settings beside the weights.
#[test]
fn settings_beside_the_weights_are_converted_too() {
    let desk = Desk::new();
    flexar::write_bundle(&desk.path("bundle"), "t2i");
    converted_images_are_the_same(&desk);
}

#[test]
fn the_folder_of_the_model_itself_is_refused() {
    let desk = Desk::with_demo();
    let said = desk.refuses(&["convert", "bundle", "--out", "bundle"]);
    assert!(
        said.contains("a folder other than the model's own"),
        "{said}"
    );
}

#[test]
fn the_demo_in_the_program_has_no_files_to_convert() {
    let desk = Desk::new();
    let said = desk.refuses(&["convert", "demo", "--out", "small"]);
    assert!(said.contains("built into the program"), "{said}");
    assert!(desk.files().is_empty());
}
