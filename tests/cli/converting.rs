//! `ttsvar convert`: a model with matrices of 8 bits generates what the original generates in 8
//! bits.

use std::fs;

use crate::{
    desk::Desk,
    support::{demo::SCORER, flexar, golden, hart, switti, var},
};

/// Converts `bundle` into `small`, and generates the same image with both from a prompt.
fn converted_images_are_the_same(desk: &Desk) {
    converted_images_of_are_the_same(desk, &["a red circle"]);
}

/// The same from these arguments.
fn converted_images_of_are_the_same(desk: &Desk, subject: &[&str]) {
    let said = desk.works(&["convert", "bundle", "--to", "q8_0", "--out", "small", "-q"]);
    assert!(said.contains("small"), "{said}");
    let generate = |model: &str, out: &str| {
        let options = [
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
        ];
        desk.works(&[&["generate"], subject, &options].concat());
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
fn models_of_classes_are_converted() {
    let desk = Desk::new();
    flexar::write_bundle(&desk.path("bundle"), "c2i");
    converted_images_of_are_the_same(&desk, &["--class", "1"]);
}

/// Its token grids are integers in the checkpoint.
#[test]
fn the_grids_of_var_are_converted_too() {
    let desk = Desk::new();
    var::write_bundle(&desk.path("bundle"), "");
    converted_images_of_are_the_same(&desk, &["--class", "1"]);
}

/// So are those of Switti, whose two text encoders are converted as well.
#[test]
fn the_grids_of_switti_are_converted_too() {
    for transformer in ["switti", "switti_ar", "switti_plain"] {
        let desk = Desk::new();
        switti::write_bundle(&desk.path("bundle"), transformer);
        converted_images_are_the_same(&desk);
    }
}

/// Its configuration stands beside the transformer, in a folder that the description does not name.
#[test]
fn the_configuration_of_hart_is_converted_too() {
    for weights in ["ema_model.bin", "pytorch_model.bin"] {
        let desk = Desk::new();
        hart::write_bundle(&desk.path("bundle"), weights);
        converted_images_are_the_same(&desk);
    }
}

/// The sharded transformer of the recordings, with patches as Infinity-8B has them.
#[test]
fn shards_become_one_file() {
    let desk = Desk::with_demo();
    let recorded = golden("infinity-8b-like-tiny");
    desk.copy(
        &recorded.join("infinity_8b_weights"),
        "bundle/infinity_8b_weights",
    );
    desk.copy(&golden("t5-tiny"), "bundle/encoder");
    let vae = desk.path("bundle/infinity_vae.pth");
    fs::copy(recorded.join("infinity_vae_8b_tiny.pth"), vae).unwrap();
    let toml = r#"
        name = "infinity-8b-like-tiny"
        [generator]
        family = "infinity"
        weights = "infinity_8b_weights"
        vae = "infinity_vae.pth"
        scales = [[1, 1], [2, 2], [4, 4]]
        [text]
        family = "t5"
        weights = "encoder"
    "#;
    desk.write("bundle/bundle.toml", format!("{toml}{SCORER}"));
    converted_images_are_the_same(&desk);
    let files = desk.files();
    let small: Vec<_> = files
        .iter()
        .filter(|file| file.starts_with("small/infinity_8b"))
        .collect();
    assert_eq!(small, ["small/infinity_8b_weights/model.gguf"]);
}

const CONVERT: [&str; 5] = ["convert", "bundle", "--out", "small", "-q"];

/// Also a configuration of a scorer that is found by its usual name.
#[test]
fn what_is_converted_can_be_changed_without_changing_the_original() {
    let desk = Desk::with_demo();
    desk.write("bundle/med_config.json", "{}");
    desk.works(&CONVERT);
    desk.works(&CONVERT);
    for name in ["bundle.toml", "med_config.json"] {
        let original = desk.read(&format!("bundle/{name}"));
        assert_eq!(desk.read(&format!("small/{name}")), original, "{name}");
        fs::OpenOptions::new()
            .append(true)
            .open(desk.path(&format!("small/{name}")))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b" "))
            .unwrap();
        assert_eq!(desk.read(&format!("bundle/{name}")), original, "{name}");
    }
}

#[test]
fn only_the_same_files_may_be_in_the_folder_perhaps_cut_short() {
    let desk = Desk::with_demo();
    desk.works(&CONVERT);
    let whole = desk.read("small/ImageReward.pt");
    fs::remove_file(desk.path("small/ImageReward.pt")).unwrap();
    desk.write("small/ImageReward.pt", &whole[..whole.len() / 2]);
    desk.works(&CONVERT);
    assert_eq!(desk.read("small/ImageReward.pt"), whole);

    fs::remove_file(desk.path("small/ImageReward.pt")).unwrap();
    desk.write("small/ImageReward.pt", "another");
    let said = desk.refuses(&["convert", "bundle", "--out", "small"]);
    assert!(
        said.contains("ImageReward.pt, found another file"),
        "{said}"
    );
    assert!(
        said.contains("hint: remove it, or give a new folder"),
        "{said}"
    );

    desk.write("small/bundle.toml", "name = \"other\"");
    let said = desk.refuses(&["convert", "bundle", "--out", "small"]);
    assert!(
        said.contains("expected a folder without another model"),
        "{said}"
    );
}

#[test]
fn sizes_have_units_that_fit() {
    let desk = Desk::with_demo();
    let said = desk.run(&["convert", "bundle", "--out", "small"]).out;
    assert!(
        said.contains(" kB, before ") || said.contains(" MB, before "),
        "{said}"
    );
    assert!(!said.contains("0.00"), "{said}");
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
