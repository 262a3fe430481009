//! Searches within a limit on memory.

use insta::{assert_snapshot, with_settings};

use crate::desk::Desk;

#[test]
fn a_limit_changes_no_picture_and_what_it_costs_is_said() {
    let desk = Desk::new();
    desk.works(&[
        "generate",
        "two red stars",
        "--seed",
        "3",
        "--out",
        "free.png",
    ]);
    let least = desk.refuses(&["plan", "--memory", "1M"]);
    let least = least
        .split("at least ")
        .nth(1)
        .and_then(|rest| rest.split(" MB").next())
        .expect("the least");
    let said = desk.run(&[
        "generate",
        "two red stars",
        "--seed",
        "3",
        "--out",
        "bound.png",
        "--memory",
        &format!("{least}M"),
    ]);
    assert_eq!(
        said.err,
        "note: to keep within the memory limit: text encoder, scorer, verifier, features in memory only while needed\n"
    );
    assert_eq!(desk.read("free.png"), desk.read("bound.png"));
}

#[test]
fn what_cannot_fit_is_refused() {
    let desk = Desk::new();
    with_settings!({ filters => [(r"at least \d+\.\d MB", "at least [least]")] }, {
        let cases: [&[&str]; 3] = [
            &["generate", "a red circle", "--memory", "1M"],
            &["bench", "--n", "2", "--memory", "800 kB"],
            &["plan", "--memory", "12X"],
        ];
        assert_snapshot!(cases.map(|arguments| desk.refuses(arguments)).join("\n"), @r#"
        $ generate "a red circle" --memory 1M
        error: the search needs at least [least], but the limit is 1.0 MB
        hint: raise the limit, search with fewer candidates, generate fewer pixels, or use a smaller --dtype (bf16, then q8)

        $ bench --n 2 --memory "800 kB"
        error: the search needs at least [least], but the limit is 0.8 MB
        hint: raise the limit, search with fewer candidates, generate fewer pixels, or use a smaller --dtype (bf16, then q8)

        $ plan --memory 12X
        error: invalid value '12X' for '--memory <SIZE>': expected a size such as 12G, 800M or 1.5GiB
        hint: `ttsvar help plan` lists the options
        "#);
    });
}

#[test]
fn what_a_plan_does_not_use_may_be_missing() {
    let desk = Desk::with_demo();
    let generate = |out: &str, method: &str| {
        desk.run(&[
            "generate",
            "two red stars",
            "--model",
            "bundle",
            "--seed",
            "3",
            "--n",
            "1",
            "--method",
            method,
            "--out",
            out,
        ])
    };
    assert_eq!(generate("whole.png", "raw").code, Some(0));
    for name in ["ImageReward.pt", "dinov2.pth"] {
        std::fs::remove_file(desk.path(&format!("bundle/{name}"))).unwrap();
    }
    let said = generate("alone.png", "raw");
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            Some(0),
            "note: images are not scored, because files are missing: ImageReward.pt\n"
        )
    );
    assert!(said.out.contains("not scored, seed 3"), "{}", said.out);
    let pixels = |name: &str| desk.png(name).image.pixels().to_vec();
    assert_eq!(pixels("alone.png"), pixels("whole.png"));
    let said = generate("none.png", "tts-var");
    assert_eq!(said.code, Some(2), "{}", said.err);
    for name in ["2 files are missing", "ImageReward.pt", "dinov2.pth"] {
        assert!(said.err.contains(name), "{}", said.err);
    }
    // A scorer that is asked for is needed.
    let named = desk.run(&[
        "generate",
        "two red stars",
        "--model",
        "bundle",
        "--method",
        "raw",
        "--scorer",
        "demo-reward",
    ]);
    assert!(named.err.contains("2 files are missing"), "{}", named.err);
}
