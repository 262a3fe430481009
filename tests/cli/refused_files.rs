//! Plans, outputs and sources that are refused: one error, one hint, exit code 2, nothing written.

use insta::{assert_snapshot, with_settings};

use crate::desk::Desk;

#[test]
fn plans_that_cannot_be_followed() {
    let desk = Desk::new();
    desk.write(
        "unselected.toml",
        "start = 8\n\n[[stage]]\nscale = 2\nwidth = 4\n",
    );
    desk.write("widths.toml", "start = 8\nwidths = [8, 4]\n");
    desk.write(
        "late.toml",
        "start = 8\n[[stage]]\nscale = 99\nwidth = 1\nselect = { top = 1 }\n",
    );
    desk.write(
        "growing.toml",
        "start = 2\n[[stage]]\nscale = 1\nwidth = 4\nselect = { cluster = \"pca\" }\n",
    );
    let cases = [
        "unselected.toml",
        "widths.toml",
        "late.toml",
        "growing.toml",
        "none.toml",
    ];
    let said = cases.map(|file| desk.refuses(&["generate", "a red circle", "--plan", file]));
    let plans = [
        desk.refuses(&["plan", "unselected.toml"]),
        desk.refuses(&["plan", "best"]),
        desk.refuses(&["plan", "--n", "0"]),
        desk.refuses(&["plan", "--scales", "0"]),
        desk.refuses(&["plan", "--scales", "18446744073709551615"]),
        desk.refuses(&["plan", "unselected.toml", "--n", "2"]),
        desk.refuses(&["plan", "--scales", "13", "--model", "demo"]),
        desk.refuses(&["plan", "--toml", "--json"]),
    ];
    with_settings!({ filters => [(r"last scale is \d+", "last scale is [last]")] }, {
        assert_snapshot!([&said[..], &plans[..]].concat().join("\n"), @r#"
        $ generate "a red circle" --plan unselected.toml
        error: unselected.toml: scale 2: the stage has no `select`, but its width goes from 8 to 4
        hint: add select = { cluster = "pca" }, { resample = "value" } or { top = K } to the stage

        $ generate "a red circle" --plan widths.toml
        error: widths.toml: plan file, line 2: unknown field `widths`, expected one of `start`, `rounds`, `enough`, `finish`, `stage`
        hint: a plan is `start = ROWS`, then for each choice `[[stage]]` with `scale`, `width` and `select`, for example select = { cluster = "pca" }, { resample = "value", lambda = 10 } or { top = 3 }

        $ generate "a red circle" --plan late.toml
        error: scale 99: the model's last scale is [last]
        hint: scales are numbered from 0; `ttsvar plan METHOD --model ...` writes a plan that fits the model

        $ generate "a red circle" --plan growing.toml
        error: growing.toml: scale 1: clustering cannot make 4 rows from 2
        hint: choose a width of 2 or less; only `top` grows a batch: select = { top = 2 } with width = 4

        $ generate "a red circle" --plan none.toml
        error: none.toml: No such file or directory (os error 2)
        hint: check that the path exists and that you have permission to read or write it

        $ plan unselected.toml
        error: unselected.toml: scale 2: the stage has no `select`, but its width goes from 8 to 4
        hint: add select = { cluster = "pca" }, { resample = "value" } or { top = K } to the stage

        $ plan best
        error: unknown method `best`
        hint: did you mean `best-of-n`? expected one of `raw`, `best-of-n`, `importance`, `beam`, `lookahead`, `draft`, `sequential`, `auto`, `tts-var`, or a plan file

        $ plan --n 0
        error: n must be 1 or more, found 0
        hint: leave it out for the model's default

        $ plan --scales 0
        error: a plan needs a model with at least one scale
        hint: choose 1 scale or more

        $ plan --scales 18446744073709551615
        error: 18446744073709551615 scales are more than any model has
        hint: give up to 1000; the released models have 13

        $ plan unselected.toml --n 2
        error: unselected.toml: scale 2: the stage has no `select`, but its width goes from 8 to 4
        hint: add select = { cluster = "pca" }, { resample = "value" } or { top = K } to the stage

        $ plan --scales 13 --model demo
        error: the argument '--scales <COUNT>' cannot be used with '--model <NAME|DIR>'
        hint: leave one of them out

        $ plan --toml --json
        error: the argument '--toml' cannot be used with '--json'
        hint: leave one of them out
        "#);
    });
}

#[test]
fn outputs_that_cannot_be_written() {
    let desk = Desk::new();
    desk.write("notes", "mine");
    desk.write("list.txt", "a red circle\n");
    let cases: [&[&str]; 12] = [
        &["generate", "a red circle", "--out", "none/a.png"],
        &["generate", "a red circle", "--out", "notes/a.png"],
        &["generate", "a red circle", "--out", "notes"],
        &["generate", "a red circle", "--out", "a.jpg"],
        &["generate", "a red circle", "--trace", "none/a.json"],
        &["generate", "a red circle", "--trace", "a.png"],
        &["generate", "a red circle", "--tree", "a.json"],
        &["generate", "a red circle", "--report", "a.png"],
        &["generate", "a red circle", "--report", "a.pdf"],
        &["generate", "a red circle", "--out", "list.txt/"],
        &["generate", "a red circle", "--out", ".png"],
        &["generate", "--prompts", "list.txt", "--out", "a.png"],
    ];
    assert_snapshot!(cases.map(|arguments| desk.refuses(arguments)).join("\n"), @r#"
    $ generate "a red circle" --out none/a.png
    error: none/a.png: cannot be written: `none` does not exist
    hint: create the folder first, or choose another one

    $ generate "a red circle" --out notes/a.png
    error: notes/a.png: cannot be written: `notes` is not a folder
    hint: create the folder first, or choose another one

    $ generate "a red circle" --out notes
    error: notes: expected a .png file or a folder
    hint: a file with that name already exists; choose another name

    $ generate "a red circle" --out a.jpg
    error: a.jpg: expected a .png file or a folder
    hint: --out writes PNG only; end the name of a new folder with `/`

    $ generate "a red circle" --trace none/a.json
    error: none/a.json: cannot be written: `none` does not exist
    hint: create the folder first, or choose another one

    $ generate "a red circle" --trace a.png
    error: a.png: expected a .json file or a folder
    hint: --trace writes JSON only; end the name of a new folder with `/`

    $ generate "a red circle" --tree a.json
    error: a.json: expected a .png file or a folder
    hint: --tree writes PNG only; end the name of a new folder with `/`

    $ generate "a red circle" --report a.png
    error: a.png: expected a .html file or a folder
    hint: --report writes HTML only; end the name of a new folder with `/`

    $ generate "a red circle" --report a.pdf
    error: a.pdf: expected a .html file or a folder
    hint: --report writes HTML only; end the name of a new folder with `/`

    $ generate "a red circle" --out list.txt/
    error: list.txt/: expected a .png file or a folder
    hint: a file with that name already exists; choose another name

    $ generate "a red circle" --out .png
    error: .png: has no name before its ending
    hint: give a name such as a.png, or a folder

    $ generate --prompts list.txt --out a.png
    error: a.png: several results cannot be written to one file
    hint: give --out a folder: results are numbered in it
    "#);
}

#[test]
fn files_in_place_of_folders() {
    let desk = Desk::new();
    desk.write("notes", "mine");
    desk.write("list.txt", "a red circle\n");
    let cases: [&[&str]; 6] = [
        &["serve", "--folder", "notes"],
        &["eval", "scenes", "--out", "notes"],
        &["eval", "scenes", "--out", "notes/inside"],
        &["collect", "--prompts", "list.txt", "--out", "notes/"],
        &["convert", "infinity-2b", "--out", "notes"],
        &["models", "fetch", "hps", "--weights", "notes"],
    ];
    for arguments in cases {
        let refused = desk.refuses(arguments);
        assert!(
            refused.ends_with(
                "error: notes: expected a folder, found a file\nhint: choose another name\n"
            ),
            "{refused}"
        );
    }
    assert_snapshot!(desk.refuses(&["plan", "--model", "infinity-2b", "--weights", "notes"]), @"
    $ plan --model infinity-2b --weights notes
    error: notes: expected a folder, found a file
    hint: give the folder with the downloaded files; `ttsvar models fetch NAME --weights DIR` downloads them
    ");
}

#[test]
fn folders_in_place_of_files() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("plans")).unwrap();
    assert_snapshot!(desk.refuses(&["generate", "a ring", "--plan", "plans"]), @r#"
    $ generate "a ring" --plan plans
    error: plans: expected a text file, found a folder
    hint: name a file in it
    "#);
}

#[test]
fn files_that_say_nothing_of_their_origin() {
    let desk = Desk::new();
    let pixel = ttsvar::search::Image::new(1, 1, vec![1, 2, 3]);
    ttsvar::image::save(&pixel, desk.path("other.png")).unwrap();
    desk.write("torn.png", &desk.read("other.png")[..20]);
    desk.write("other.json", "{}");
    desk.write("notes.txt", "mine");
    let cases: [&[&str]; 9] = [
        &["generate", "--from", "other.png"],
        &["generate", "--from", "torn.png"],
        &["generate", "--from", "notes.txt"],
        &["generate", "--from", "none.png"],
        &["inspect", "other.png"],
        &["inspect", "torn.png"],
        &["inspect", "other.json"],
        &["inspect", "notes.txt"],
        &["inspect"],
    ];
    // The words of the decoder are its own.
    with_settings!({ filters => [(r"damaged one: .*", "damaged one: [why]")] }, {
        assert_snapshot!(cases.map(|arguments| desk.refuses(arguments)).join("\n"), @"
        $ generate --from other.png
        error: other.png: this image does not record how it was made
        hint: the records of `ttsvar`, AUTOMATIC1111's web UI and ComfyUI are read, unless another program removed them

        $ generate --from torn.png
        error: torn.png: the PNG ends too early
        hint: only complete files can be read as images: copy, download or generate it again

        $ generate --from notes.txt
        error: notes.txt: not a PNG, but text
        hint: give a PNG that records how it was made

        $ generate --from none.png
        error: none.png: No such file or directory (os error 2)
        hint: check that the path exists and that you have permission to read or write it

        $ inspect other.png
        error: other.png: this image does not record how it was made
        hint: the records of `ttsvar`, AUTOMATIC1111's web UI and ComfyUI are read, unless another program removed them

        $ inspect torn.png
        error: torn.png: the PNG ends too early
        hint: only complete files can be read as images: copy, download or generate it again

        $ inspect other.json
        error: other.json: not a search trace: missing field `schema` at line 1 column 2
        hint: give a PNG written by `ttsvar generate`, or a trace written by its --trace option

        $ inspect notes.txt
        error: notes.txt: expected a PNG or a trace, found text
        hint: give a PNG written by `ttsvar generate`, or a trace written by its --trace option

        $ inspect
        error: the following required arguments were not provided: <FILE>...
        hint: `ttsvar help inspect` lists the options
        ");
    });
}
