//! `ttsvar bench`.

use insta::assert_snapshot;
use serde_json::Value;

use crate::desk::Desk;

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&Desk::new().works(arguments)).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("a number, found {value}"))
}

#[test]
fn options_are_checked_before_weights_are_made() {
    let desk = Desk::new();
    for (flag, message) in [
        (["--pixels", "3M"], "unknown image size `3M`"),
        (["--tau", "1,1,1,1,1,1,1,1"], "tau has 8 values"),
    ] {
        let refused = desk.refuses(&[&["bench", "--arch", "2b"][..], &flag].concat());
        assert!(refused.contains(message), "{refused}");
    }
}

/// Scripts read these fields of ours and of the peer's.
#[test]
fn a_measurement_has_the_fields_of_the_peer() {
    let found = json(&[
        "bench",
        "--json",
        "--repeat",
        "2",
        "--method",
        "tts-var",
        "--n",
        "1",
        "--threads",
        "1",
    ]);
    let seconds = &found["seconds"];
    let phases = [
        "text",
        "transformer",
        "decode",
        "features",
        "scorer",
        "select",
    ];
    let sum: f64 = phases.iter().map(|phase| number(&seconds[*phase])).sum();
    let [shortest, longest] = [0, 1].map(|i| number(&found["total_range"][i]));
    assert!(
        sum > 0.0 && shortest <= number(&seconds["total"]) && number(&seconds["total"]) <= longest
    );
    assert_eq!(found["widths"], serde_json::json!([8, 8, 8, 6, 4, 2, 1]));
    assert_eq!(
        (&found["decodes"], &found["threads"], &found["states"][0]),
        (&21.into(), &1.into(), &1.into())
    );
    for name in ["images_per_s", "pixels"] {
        assert!(number(&found[name]) > 0.0, "{name}");
    }
    for group in ["gflop", "tflop_per_s"] {
        assert!(
            number(&found[group]["transformer"]) > 0.0 && number(&found[group]["decode"]) > 0.0,
            "{group}"
        );
    }
    assert!(number(&found["memory_mib"]["predicted"]) > 10.0);
}

#[test]
fn previews_are_held_against_full_images() {
    let found = json(&[
        "bench",
        "preview",
        "--prompts",
        "2",
        "--rows",
        "4",
        "--sizes",
        "32,64",
        "--json",
    ]);
    let previews = found["previews"].as_array().expect("a list");
    assert_eq!(
        previews.len(),
        2 * 6,
        "two sizes after each scale but the last"
    );
    for full in previews.iter().filter(|preview| preview["pixels"] == 64) {
        assert_eq!(
            (number(&full["ranks"]), number(&full["same_best"])),
            (1.0, 1.0),
            "a full preview agrees with itself"
        );
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let cases: [&[&str]; 8] = [
        &["bench", "--arch", "3b"],
        &["bench", "--repeat", "0"],
        &["bench", "--pixels", "1M"],
        &["bench", "--plan", "none.toml"],
        &["bench", "--ops"],
        &["bench", "--dtype", "f8"],
        &["bench", "preview", "--rows", "1"],
        &["bench", "preview", "--sizes", "16,100"],
    ];
    let desk = Desk::new();
    assert_snapshot!(cases.map(|arguments| desk.refuses(arguments)).join("\n"), @r"
    $ bench --arch 3b
    error: unknown architecture `3b`
    hint: expected demo or one of infinity-layer12, infinity-layer16, infinity-layer24, 2b, 8b, var-d16, var-d20, var-d24, var-d30, var-d36, hart, hart-512, switti, switti-ar, switti-1024, switti-1024-ar, switti-1024-d4, flexar-113m, flexar-382m, flexar-1b, flexar-3b, flexar-1b-class, flexar-d2

    $ bench --repeat 0
    error: --repeat must be at least 1
    hint: the default is 3

    $ bench --pixels 1M
    error: `demo` only generates images of 64 x 64 pixels
    hint: leave --aspect and --pixels out

    $ bench --plan none.toml
    error: none.toml: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it

    $ bench --ops
    error: --ops needs a released size
    hint: give one, such as `--arch infinity-layer12`

    $ bench --dtype f8
    error: unknown data type `f8`
    hint: expected `f32`, `bf16` or `q8`

    $ bench preview --rows 1
    error: --rows is 1, but ranks need at least 2 rows
    hint: the default is 8

    $ bench preview --sizes 16,100
    error: expected previews of 1 to 64 pixels, found 100
    hint: change --sizes
    ");
}
