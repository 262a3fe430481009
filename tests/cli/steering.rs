//! `--steer`: what it says, what it records, and what it refuses.

use insta::assert_snapshot;
use serde_json::Value;

use crate::desk::Desk;

const PROMPT: &str = "a photo of a star left of a ring";

/// A layout for the prompt, and the same as JSON.
const LAYOUT: &str = "edge = 0.25\n\
    [[concept]]\ntext = \"a star\"\nbox = [0.0, 0.0, 0.5, 1.0]\n\
    [[concept]]\ntext = \"a ring\"\nbox = [0.5, 0.25, 1.0, 0.75]\n";

/// The arguments of a search of one image.
fn raw<'a>(prompt: &'a str, steer: &'a str, out: &'a str) -> [&'a str; 10] {
    let [method, seed] = ["--method", "--seed"];
    [
        "generate", prompt, method, "raw", seed, "3", "--steer", steer, "--out", out,
    ]
}

/// The notes of a search.
fn notes(desk: &Desk, prompt: &str, steer: &str) -> String {
    let said = desk.run(&raw(prompt, steer, "a.png"));
    let notes = said.err.lines().filter(|line| line.starts_with("note:"));
    notes.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_note_says_what_is_steered() {
    let desk = Desk::new();
    desk.write("layout.toml", LAYOUT);
    desk.write("drawn.json", "{ \"places\": \"drawn\" }");
    let said = [
        notes(&desk, PROMPT, "auto"),
        notes(&desk, "a star and a ring", "auto"),
        notes(&desk, PROMPT, "layout.toml"),
        notes(&desk, "a star and a ring", "drawn.json"),
        notes(&desk, PROMPT, "off"),
    ];
    assert_snapshot!(said.join("\n"), @r"
    note: steering at scale 3: a star in the left half, a ring in the right half
    note: nothing is steered: the prompt does not say for certain where its concepts are
    note: steering at scale 3: a star in the left half, a ring in [0.50, 0.25, 1.00, 0.75]
    note: steering at scale 3: each candidate draws one of 4 layouts
    ");
}

#[test]
fn a_steered_image_comes_back_from_its_record() {
    let desk = Desk::new();
    desk.write("layout.toml", LAYOUT);
    for steer in ["auto", "layout.toml"] {
        desk.run(&raw(PROMPT, steer, "a.png"));
        desk.run(&["generate", "--from", "a.png", "--out", "b.png"]);
        assert_eq!(desk.read("a.png"), desk.read("b.png"), "{steer}");
        desk.run(&raw(PROMPT, "off", "c.png"));
        assert_ne!(desk.png("a.png").image, desk.png("c.png").image, "{steer}");
    }
}

#[test]
fn trace_and_report_show_the_regions() {
    let desk = Desk::new();
    desk.write("layout.toml", LAYOUT);
    let outputs = ["--trace", "a.json", "--report", "a.html"];
    desk.run(&[&raw(PROMPT, "layout.toml", "a.png")[..], &outputs].concat());
    let page = desk.text("a.html");
    for part in [
        "left: 50.0%; top: 25.0%; width: 50.0%; height: 50.0%",
        "--steer steer.json",
        "download=\"steer.json\"",
        "dashed: the region",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let inspected = desk.works(&["inspect", "a.json"]);
    assert!(
        inspected.contains("steering at scale 3: a star in the left half"),
        "{inspected}"
    );
}

#[test]
fn an_estimate_counts_the_texts_of_regions() {
    let desk = Desk::new();
    let flops = |steer: &str| {
        let arguments = [
            "plan",
            "raw",
            "--model",
            "infinity-2b",
            "--json",
            "--steer",
            steer,
        ];
        let plan: Value = serde_json::from_str(&desk.run(&arguments).out).unwrap();
        plan["flops"]["generator"]
            .as_f64()
            .unwrap_or_else(|| panic!("{plan}"))
    };
    let plain = flops("off");
    let steered = flops("auto");
    assert!(
        plain < steered && steered < 1.01 * plain,
        "{plain} {steered}"
    );
}

#[test]
fn layouts_that_are_not_possible() {
    let desk = Desk::new();
    let concept =
        |text: &str, region: &str| format!("[[concept]]\ntext = \"{text}\"\nbox = {region}\n");
    desk.write("outside.toml", concept("a star", "[0, 0, 1.5, 1]"));
    desk.write(
        "key.toml",
        concept("a star", "[0, 0, 1, 1]") + "colour = 1\n",
    );
    desk.write("absent.toml", concept("a cat", "[0, 0, 1, 1]"));
    desk.write("narrow.toml", concept("a star", "[0, 0, 0.1, 1]"));
    desk.write("many.toml", concept("a star", "[0, 0, 1, 1]").repeat(17));
    desk.write("no-text.json", "{\"concept\": [{\"box\": [0, 0, 1, 1]}]}");
    desk.write("scale.toml", "scales = [9]");
    desk.write("broken.toml", "concept = [");
    desk.write("nan.toml", concept("a star", "[0, nan, 1, 1]"));
    let files = [
        "nan.toml",
        "outside.toml",
        "key.toml",
        "absent.toml",
        "narrow.toml",
        "many.toml",
        "no-text.json",
        "scale.toml",
        "broken.toml",
        "none.toml",
        "autp",
    ];
    let said = files.map(|file| desk.refuses(&["generate", PROMPT, "--steer", file]));
    assert_snapshot!(said.join("\n"), @r#"
    $ generate "a photo of a star left of a ring" --steer nan.toml
    error: nan.toml: in the layout, concept[0].box[1] is NaN, expected a finite number
    hint: a concept is `text = "a red circle"` and `box = [left, top, right, bottom]`

    $ generate "a photo of a star left of a ring" --steer outside.toml
    error: outside.toml: in the layout, the box of `a star` is [0.0, 0.0, 1.5, 1.0], expected left < right and top < bottom, from 0 to 1
    hint: a box is [left, top, right, bottom] in fractions of the image

    $ generate "a photo of a star left of a ring" --steer key.toml
    error: key.toml: in the layout, unknown key `concept[0].colour`
    hint: expected one of `text`, `box`

    $ generate "a photo of a star left of a ring" --steer absent.toml
    error: absent.toml: the layout has a concept that is not in the prompt: `a cat`
    hint: copy the text of each concept from the prompt, word for word, or turn steering off with --steer off

    $ generate "a photo of a star left of a ring" --steer narrow.toml
    error: narrow.toml: the box of `a star` fills no cell of the steered 4 x 4 grid
    hint: make it larger: a cell is 0.25 wide and 0.25 high, and a box must cover more than half of it

    $ generate "a photo of a star left of a ring" --steer many.toml
    error: many.toml: the layout has 17 concepts, but the steered grid has 4 x 4 cells
    hint: leave out the concepts that matter least

    $ generate "a photo of a star left of a ring" --steer no-text.json
    error: no-text.json: in the layout, `concept[0]`: missing field `text`
    hint: a concept is `text = "a red circle"` and `box = [left, top, right, bottom]`

    $ generate "a photo of a star left of a ring" --steer scale.toml
    error: scale.toml: steer names scale 9, but the model has 7 scales
    hint: scales are numbered from 0; without `scales`, the 4 x 4 grid is steered

    $ generate "a photo of a star left of a ring" --steer broken.toml
    error: broken.toml: line 1: unclosed array, expected `]`
    hint: a concept is `text = "a red circle"` and `box = [left, top, right, bottom]`

    $ generate "a photo of a star left of a ring" --steer none.toml
    error: none.toml: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it

    $ generate "a photo of a star left of a ring" --steer autp
    error: unknown layout `autp`
    hint: did you mean `auto`? expected `auto`, `off`, or a TOML or JSON file with a layout
    "#);
}
