//! `--from`: an image tells enough to be painted again, bit for bit, and so does the command in a
//! report.

use std::fs;

use insta::assert_snapshot;

use crate::{
    desk::Desk,
    support::{flexar, var},
};

fn paint(desk: &Desk, flags: &[&str]) {
    desk.works(&[&["generate", "-q"], flags].concat());
}

/// Paints with these flags, then from the image alone and by the command in the report, and compares
/// the files.
fn comes_back(flags: &[&str]) {
    comes_back_on(&Desk::new(), flags);
}

fn comes_back_on(desk: &Desk, flags: &[&str]) {
    let outputs = ["--out", "a.png", "--report", "a.html"];
    paint(desk, &[flags, &outputs].concat());
    paint(desk, &["--from", "a.png", "--out", "b.png"]);
    assert_eq!(
        desk.png("a.png").image,
        desk.png("b.png").image,
        "{flags:?}"
    );
    assert_eq!(desk.read("a.png"), desk.read("b.png"), "{flags:?}");
    desk.repeat_by_report("a.html", "c.png");
    assert_eq!(desk.read("a.png"), desk.read("c.png"), "{flags:?}");
}

#[test]
fn a_class_with_every_setting_of_its_model_comes_back() {
    let desk = Desk::new();
    var::write_bundle(&desk.path("bundle"), "");
    let model = ["--model", "bundle", "--class", "3", "--seed", "5"];
    let search = ["--method", "best-of-n", "--n", "2", "--text-dtype", "bf16"];
    let drawing = ["--more-smooth", "--cfg", "2", "--top-k", "50"];
    comes_back_on(&desk, &[&model[..], &search, &drawing].concat());
}

#[test]
fn a_search_with_every_setting_of_flexar_comes_back() {
    let desk = Desk::new();
    flexar::write_bundle(&desk.path("bundle"), "t2i");
    let model = ["two green stars", "--model", "bundle", "--seed", "5"];
    let search = ["--method", "beam", "--n", "2", "--dtype", "bf16"];
    let text = ["--text-dtype", "f32", "--as-released"];
    let decoder = [
        "--decoder-steps",
        "3",
        "--preview-steps",
        "2",
        "--decoder-cfg",
        "5",
    ];
    comes_back_on(&desk, &[&model[..], &search, &text, &decoder].concat());
}

#[test]
fn a_search_with_the_usual_settings_comes_back() {
    comes_back(&["a red circle and a blue square"]);
}

#[test]
fn a_search_with_every_setting_comes_back() {
    let search = [
        "a red circle",
        "--negative",
        "blue",
        "--seed",
        "18446744073709551615",
        "--method",
        "tts-var",
        "--n",
        "1",
    ];
    let choices = [
        "--features",
        "pool",
        "--potential",
        "diff",
        "--lambda",
        "2.5",
        "--draw",
        "systematic",
    ];
    let drawing = [
        "--cfg",
        "2.7,2.7,2.7,2.7,1",
        "--cfg-layer",
        "2",
        "--tau",
        "1,0.61",
        "--top-p",
        "0.9",
        "--top-k",
        "300",
    ];
    let canvas = ["--preview", "40", "--aspect", "2:2", "--schedule", "paper"];
    comes_back(&[&search[..], &choices, &drawing, &canvas].concat());
}

#[test]
fn a_search_in_bf16_comes_back_in_bf16() {
    comes_back(&["a red circle", "--method", "raw", "--dtype", "bf16"]);
}

#[test]
fn a_search_with_a_lambda_beyond_whole_numbers_comes_back() {
    comes_back(&["a red circle", "--lambda", "1e20"]);
}

#[test]
fn a_prompt_that_looks_like_standard_input_comes_back() {
    let desk = Desk::new();
    desk.write("p.txt", "-\n");
    paint(
        &desk,
        &["--prompts", "p.txt", "--method", "raw", "--out", "o"],
    );
    let painted = format!(
        "o/{}",
        desk.files()
            .iter()
            .find_map(|file| file.strip_prefix("o/"))
            .unwrap()
    );
    paint(&desk, &["--from", &painted, "--out", "b.png"]);
    assert_eq!(desk.read(&painted), desk.read("b.png"));
}

#[test]
fn a_search_with_a_plan_of_its_own_comes_back_without_the_plan_file() {
    let desk = Desk::new();
    desk.write(
        "p.toml",
        "start = 3\n[[stage]]\nscale = 4\nwidth = 2\nselect = { top = 2 }\n",
    );
    paint(
        &desk,
        &["a red circle", "--plan", "p.toml", "--out", "a.png"],
    );
    fs::remove_file(desk.path("p.toml")).unwrap();
    paint(&desk, &["--from", "a.png", "--out", "b.png"]);
    assert_eq!(desk.read("a.png"), desk.read("b.png"));
}

#[test]
fn flags_override_what_the_image_says() {
    let desk = Desk::new();
    let first = [
        "a red circle",
        "--method",
        "best-of-n",
        "--n",
        "2",
        "--seed",
        "3",
        "--cfg",
        "2.5",
    ];
    paint(&desk, &[&first[..], &["--out", "a.png"]].concat());
    let text = |name: &str, key: &str| {
        desk.png(name)
            .text(&format!("ttsvar:{key}"))
            .unwrap()
            .to_owned()
    };

    paint(&desk, &["--from", "a.png", "--seed", "4", "--out", "b.png"]);
    assert_eq!(
        (text("b.png", "seed"), text("b.png", "settings")),
        ("4".to_owned(), text("a.png", "settings"))
    );

    paint(
        &desk,
        &[
            "a blue star",
            "--from",
            "a.png",
            "--n",
            "1",
            "--out",
            "c.png",
        ],
    );
    assert_eq!(
        (text("c.png", "prompt"), text("c.png", "seed")),
        ("a blue star".to_owned(), "3".to_owned())
    );
    let settings = text("c.png", "settings");
    assert!(
        settings.contains("\"best-of-n\",\"n\":1") && settings.contains("\"cfg\":2.5"),
        "{settings}"
    );

    // The other way round: what was overridden can be typed instead.
    paint(
        &desk,
        &[
            "a blue star",
            "--method",
            "best-of-n",
            "--n",
            "1",
            "--seed",
            "3",
            "--cfg",
            "2.5",
            "--out",
            "d.png",
        ],
    );
    assert_eq!(desk.read("c.png"), desk.read("d.png"));
}

#[test]
fn a_picture_that_other_code_chose_is_not_repeated() {
    let desk = Desk::new();
    paint(
        &desk,
        &["a red circle", "--method", "raw", "--out", "a.png"],
    );
    let mut own = desk.png("a.png");
    let settings = own
        .text
        .iter_mut()
        .find(|(key, _)| key == "ttsvar:settings")
        .unwrap();
    settings.1 = settings.1.replacen('{', "{\"scorer\":\"mine.redness\",", 1);
    own.save(desk.path("own.png")).unwrap();
    assert!(desk.works(&["inspect", "own.png"]).contains("mine.redness"));
    assert_snapshot!(desk.refuses(&["generate", "--from", "own.png"]), @r#"
    $ generate --from own.png
    error: own.png: the search used a custom scorer, `mine.redness`
    hint: repeat it with the program that provided it
    "#);
}

#[test]
fn an_image_that_is_not_the_winner_comes_back_as_itself() {
    let desk = Desk::new();
    let search = ["a star", "--method", "best-of-n", "--n", "3", "--seed", "4"];
    paint(
        &desk,
        &[&search[..], &["--best", "3", "--out", "best"]].concat(),
    );
    let second = "best/a-star-2.png";
    let said = desk.works(&["generate", "--from", second, "--out", "again.png", "--json"]);
    assert_eq!(desk.read("again.png"), desk.read(second));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let score = said["score"].as_f64().unwrap();
    assert_eq!(said["images"][0]["score"].as_f64(), Some(score));
    assert!(
        desk.works(&["inspect", second])
            .contains(&format!("{score:.3}"))
    );
    // The first has no rank and is the winner. A changed search has another winner.
    paint(
        &desk,
        &["--from", "best/a-star-1.png", "--out", "first.png"],
    );
    assert_eq!(desk.read("first.png"), desk.read("best/a-star-1.png"));
    paint(
        &desk,
        &["--from", second, "--seed", "4", "--out", "winner.png"],
    );
    assert_eq!(desk.read("winner.png"), desk.read("best/a-star-1.png"));
    paint(&desk, &["--from", second, "--best", "2", "--out", "more"]);
    assert_eq!(desk.read("more/a-star-2.png"), desk.read(second));

    let png = desk.png(second).with_text("ttsvar:rank", "4".to_owned());
    let mut torn = png.clone();
    torn.text
        .retain(|(key, value)| key != "ttsvar:rank" || value == "4");
    desk.write("torn.png", torn.encode().unwrap());
    let refused = desk.refuses(&["generate", "--from", "torn.png"]);
    assert!(
        refused.contains("cannot keep the best 4 images"),
        "{refused}"
    );
}
