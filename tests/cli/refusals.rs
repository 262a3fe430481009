//! Flags that are refused: one error, one hint, exit code 2, nothing written.

use insta::{assert_snapshot, with_settings};

use crate::desk::Desk;

/// What depends on the demo.
const OF_DEMO: [(&str, &str); 2] = [
    (
        r"generates images of \d+ x \d+ pixels",
        "generates images of [size]",
    ),
    (
        r"the guidance layer must be at most \d+",
        "the guidance layer must be at most [depth]",
    ),
];

/// What is said to each of these flags of `generate`.
fn refused(cases: &[&[&str]]) -> String {
    let desk = Desk::new();
    let line = |flags: &&[&str]| desk.refuses(&[&["generate", "a red circle"], *flags].concat());
    cases
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
        .replace("$ generate \"a red circle\" ", "$ ")
}

#[test]
fn prompts_that_say_nothing() {
    let desk = Desk::new();
    desk.write("blank.txt", "\n  \n");
    desk.write("latin.txt", b"a red circle\nein gr\xfcner Kreis\n");
    let cases: [&[&str]; 8] = [
        &["generate"],
        &["generate", ""],
        &["generate", "  \t "],
        &["generate", "-"],
        &["generate", "--prompts", "blank.txt"],
        &["generate", "--prompts", "latin.txt"],
        &["generate", "--prompts", "none.txt"],
        &["generate", "a", "red", "circle"],
    ];
    assert_snapshot!(cases.map(|arguments| desk.refuses(arguments)).join("\n"), @r#"
    $ generate
    error: no prompt given
    hint: give a prompt: ttsvar generate "a red circle and a blue star"

    $ generate ""
    error: the prompt is empty
    hint: describe the image, such as "a red circle and a blue star"

    $ generate "  \t "
    error: the prompt is empty
    hint: describe the image, such as "a red circle and a blue star"

    $ generate -
    error: standard input: contains no prompts
    hint: write one prompt per line

    $ generate --prompts blank.txt
    error: blank.txt: contains no prompts
    hint: write one prompt per line

    $ generate --prompts latin.txt
    error: latin.txt: line 2, byte 7: expected UTF-8 text, found the byte 0xfc
    hint: save the file as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8 FILE > NEW

    $ generate --prompts none.txt
    error: none.txt: No such file or directory (os error 2)
    hint: check that the path exists and that you have permission to read or write it

    $ generate a red circle
    error: unexpected argument 'red' found
    hint: put a prompt with several words in quotes
    "#);
}

#[test]
fn numbers_out_of_range() {
    with_settings!({ filters => OF_DEMO }, {
        assert_snapshot!(refused(&[
            &["--n", "0"],
            &["--n", "-1"],
            &["--n", "two"],
            &["--n", "99999999"],
            &["--n", "99999999999999999999999"],
            &["--n", "18446744073709551615"],
            &["--tau", "0"],
            &["--tau", "-1"],
            &["--tau", "nan"],
            &["--tau", "1,0"],
            &["--tau", "1,,2"],
            &["--tau", "1,1,1,1,1,1,1,1"],
            &["--cfg", "nan"],
            &["--cfg", "inf"],
            &["--cfg-layer", "0"],
            &["--cfg-layer", "99"],
            &["--top-p", "1.5"],
            &["--top-p", "-0.1"],
            &["--lambda", "-1"],
            &["--lambda", "nan"],
            &["--seed", "-2"],
            &["--seed", "18446744073709551616"],
            &["--preview", "0"],
            &["--threads", "0"],
            &["--threads", "two"],
        ]), @"
        $ --n 0
        error: n must be 1 or more, found 0
        hint: leave it out for the model's default

        $ --n -1
        error: invalid value '-1' for '--n <N>': expected a positive integer
        hint: `ttsvar help generate` lists the options

        $ --n two
        error: invalid value 'two' for '--n <N>': expected a positive integer
        hint: `ttsvar help generate` lists the options

        $ --n 99999999
        error: N: 99999999 rows, but a batch has at most 65536
        hint: choose a smaller N, or search several times with different seeds

        $ --n 99999999999999999999999
        error: invalid value '99999999999999999999999' for '--n <N>': this number is too large
        hint: `ttsvar help generate` lists the options

        $ --n 18446744073709551615
        error: N: 18446744073709551615 rows, but a batch has at most 65536
        hint: choose a smaller N, or search several times with different seeds

        $ --tau 0
        error: tau must be 0.000001 or more, found 0
        hint: a typical value is 0.5; the least one chooses what is most likely

        $ --tau -1
        error: tau must be 0.000001 or more, found -1
        hint: a typical value is 0.5; the least one chooses what is most likely

        $ --tau nan
        error: tau must be 0.000001 or more, found NaN
        hint: a typical value is 0.5; the least one chooses what is most likely

        $ --tau 1,0
        error: tau at scale 1 must be 0.000001 or more, found 0
        hint: a typical value is 0.5; the least one chooses what is most likely

        $ --tau 1,,2
        error: invalid value '1,,2' for '--tau <NUMBER,...>': expected a number, or a comma-separated list with one number per scale
        hint: `ttsvar help generate` lists the options

        $ --tau 1,1,1,1,1,1,1,1
        error: tau has 8 values, but the model has 7 scales
        hint: give one value, or at most one per scale; the last one applies to all later scales

        $ --cfg nan
        error: cfg must be a finite number, found NaN
        hint: a typical value is 3; 1 turns guidance off

        $ --cfg inf
        error: cfg must be a finite number, found inf
        hint: a typical value is 3; 1 turns guidance off

        $ --cfg-layer 0
        error: the guidance layer must be 1 or more, found 0
        hint: 1 is the last block

        $ --cfg-layer 99
        error: the guidance layer must be at most [depth], found 99
        hint: 1 is the last block

        $ --top-p 1.5
        error: top-p must be from 0 to 1, found 1.5
        hint: a typical value is 0.97; 0 turns it off

        $ --top-p -0.1
        error: top-p must be from 0 to 1, found -0.1
        hint: a typical value is 0.97; 0 turns it off

        $ --lambda -1
        error: lambda must be a finite number, 0 or more, found -1
        hint: the paper uses 10; 0 draws uniformly, larger values favour high scores

        $ --lambda nan
        error: lambda must be a finite number, 0 or more, found NaN
        hint: the paper uses 10; 0 draws uniformly, larger values favour high scores

        $ --seed -2
        error: invalid value '-2' for '--seed <NUMBER>': expected an integer from 0 to 18446744073709551615, or -1
        hint: `ttsvar help generate` lists the options

        $ --seed 18446744073709551616
        error: invalid value '18446744073709551616' for '--seed <NUMBER>': expected an integer from 0 to 18446744073709551615, or -1
        hint: `ttsvar help generate` lists the options

        $ --preview 0
        error: `0` is not a valid preview size
        hint: give `full`, or the pixels along the shorter side, such as 256

        $ --threads 0
        error: --threads is 0, but the work needs at least 1 thread
        hint: leave it out to use every core

        $ --threads two
        error: invalid value 'two' for '--threads <COUNT>': expected a positive integer
        hint: `ttsvar help generate` lists the options
        ");
    });
}

#[test]
#[cfg(feature = "server")]
fn a_server_without_workers() {
    assert_snapshot!(Desk::new().refuses(&["serve", "--workers", "0"]), @"
    $ serve --workers 0
    error: --workers is 0, but searches need at least 1 worker
    hint: leave it out to run one per core
    ");
}

#[test]
fn names_that_are_not_known() {
    assert_snapshot!(refused(&[
        &["--method", "best"],
        &["--schedule", "mine"],
        &["--features", "clip"],
        &["--potential", "mean"],
        &["--draw", "all"],
        &["--sampling", "infinity-evla"],
        &["--model", "dall-e"],
        &["--device", "tpu"],
        &["--model", "FoundationVision/Infinity"],
        &["--model", "https://huggingface.co/mit-han-lab/hart-0.7b-1024px/"],
        &["--pixels", "2M"],
        &["--sed", "1"],
    ]), @"
    $ --method best
    error: unknown method `best`
    hint: did you mean `best-of-n`? expected one of `raw`, `best-of-n`, `importance`, `beam`, `lookahead`, `draft`, `sequential`, `auto`, `tts-var`

    $ --schedule mine
    error: unknown schedule `mine`
    hint: expected `released` or `paper`

    $ --features clip
    error: unknown kind of features `clip`
    hint: expected one of `pca`, `pca-raw`, `pca-all`, `pool`, `latent`

    $ --potential mean
    error: unknown potential `mean`
    hint: expected one of `value`, `diff`, `max`, `sum`

    $ --draw all
    error: unknown draw `all`
    hint: expected `multinomial` or `systematic`

    $ --sampling infinity-evla
    error: unknown sampling preset `infinity-evla`
    hint: did you mean `infinity-eval`? expected one of `tts-var`, `infinity-eval`, `infinity-demo`, `soto`

    $ --model dall-e
    error: unknown model `dall-e`
    hint: expected `demo`, one of infinity-2b, infinity-8b, infinity-8b-512, var-d16, var-d20, var-d24, var-d30, var-d36, hart, switti, switti-ar, switti-1024, switti-1024-ar, flexar-113m, flexar-382m, flexar-1b, flexar-3b, flexar-1b-class, or a folder with a bundle.toml

    $ --device tpu
    error: unknown device `tpu`
    hint: expected `cpu`, or `cuda` for a GPU

    $ --model FoundationVision/Infinity
    error: unknown model `FoundationVision/Infinity`
    hint: its models are called `infinity-2b`, `infinity-8b`, `infinity-8b-512` here

    $ --model https://huggingface.co/mit-han-lab/hart-0.7b-1024px/
    error: unknown model `https://huggingface.co/mit-han-lab/hart-0.7b-1024px/`
    hint: its model is called `hart` here

    $ --pixels 2M
    error: unknown image size `2M`
    hint: at an aspect of 1:1, the sizes are 0.06M (256 x 256), 0.25M (512 x 512), 0.60M (768 x 768), 1M (1024 x 1024)

    $ --sed 1
    error: unexpected argument '--sed' found
    hint: a similar argument exists: '--seed'
    ");
}

#[test]
fn aspects_that_no_model_paints() {
    with_settings!({ filters => OF_DEMO }, {
        assert_snapshot!(refused(&[
            &["--aspect", "1:3.1"],
            &["--aspect", "4:1"],
            &["--aspect", "wide"],
            &["--aspect", "16x9"],
            &["--aspect", "0:1"],
            &["--aspect", "16:9"],
            &["--pixels", "1M"],
        ]), @"
        $ --aspect 1:3.1
        error: an aspect of 1:3.1 is out of range
        hint: models generate from 1:3 (tall) to 3:1 (wide)

        $ --aspect 4:1
        error: an aspect of 4:1 is out of range
        hint: models generate from 1:3 (tall) to 3:1 (wide)

        $ --aspect wide
        error: `wide` is not a valid aspect
        hint: give width to height, such as 16:9

        $ --aspect 16x9
        error: `16x9` is not a valid aspect
        hint: give width to height, such as 16:9

        $ --aspect 0:1
        error: `0:1` is not a valid aspect
        hint: give width to height, such as 16:9

        $ --aspect 16:9
        error: `demo` only generates images of [size]
        hint: leave --aspect and --pixels out

        $ --pixels 1M
        error: `demo` only generates images of [size]
        hint: leave --aspect and --pixels out
        ");
    });
}

#[test]
fn a_plan_and_a_method_contradict_each_other() {
    let desk = Desk::new();
    desk.write("p.toml", "start = 2\n");
    for flags in [["--n", "2"], ["--method", "raw"], ["--schedule", "paper"]] {
        let mut arguments = vec!["generate", "a ring", "--plan", "p.toml"];
        arguments.extend(flags);
        let refused = desk.refuses(&arguments);
        assert!(refused.contains("cannot be used with"), "{refused}");
    }
}

#[test]
fn flags_that_contradict_each_other() {
    assert_snapshot!(refused(&[
        &["--method", "raw", "--schedule", "paper"],
        &["--prompts", "p.txt"],
        &["--out", "a.png", "--tree", "a.png"],
        &["--out", "a.png", "--tree", "./a.png"],
        &["--weights", "somewhere"],
    ]), @"
    $ --method raw --schedule paper
    error: --schedule is an option of method tts-var, not of raw
    hint: leave --schedule out, or choose --method tts-var

    $ --prompts p.txt
    error: the argument '[PROMPT]' cannot be used with '--prompts <FILE>'
    hint: leave one of them out

    $ --out a.png --tree a.png
    error: a.png: two results cannot be written to the same file
    hint: give each its own name

    $ --out a.png --tree ./a.png
    error: ./a.png: two results cannot be written to the same file
    hint: give each its own name

    $ --weights somewhere
    error: somewhere: no such folder
    hint: give the folder with the downloaded files; `ttsvar models fetch NAME --weights DIR` downloads them
    ");
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_was_not_built_in() {
    assert_snapshot!(refused(&[&["--device", "cuda"]]), @r"
    $ --device cuda
    error: this program was built without CUDA
    hint: build it with `cargo build --release --features cuda`
    ");
}

#[test]
fn released_models_without_their_files() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("empty")).unwrap();
    let said = [
        desk.refuses(&["generate", "a cat", "--model", "infinity-2b"]),
        desk.refuses(&[
            "generate",
            "a cat",
            "--model",
            "infinity-2b",
            "--weights",
            "empty",
        ]),
        desk.refuses(&["generate", "a cat", "--model", "empty"]),
        desk.refuses(&["models", "--weights", "none"]),
    ];
    assert_snapshot!(said.join("\n"), @r#"
    $ generate "a cat" --model infinity-2b
    error: the weights of `infinity-2b` are not part of this program
    hint: give the folder with the downloads: `--weights DIR`; `ttsvar models fetch infinity-2b` downloads infinity-2b (about 9.3 GB), flan-t5-xl (about 11.4 GB), dinov2-with-registers-large (about 1.2 GB), image-reward (about 1.8 GB) and bert-base-uncased

    $ generate "a cat" --model infinity-2b --weights empty
    error: empty: 6 files are missing: infinity_2b_reg.pth (Hugging Face FoundationVision/Infinity), infinity_vae_d32reg.pth (Hugging Face FoundationVision/Infinity), flan-t5-xl (Hugging Face google/flan-t5-xl), ImageReward.pt (Hugging Face THUDM/ImageReward), vocab.txt (Hugging Face google-bert/bert-base-uncased), dinov2_vitl14_reg4_pretrain.pth (facebookresearch/dinov2, model zoo)
    hint: `ttsvar models fetch infinity-2b --weights empty` downloads them

    $ generate "a cat" --model empty
    error: empty: contains no `bundle.toml`
    hint: `--model` takes a folder with a bundle.toml, or the name of a released model with `--weights FOLDER`

    $ models --weights none
    error: none: no such folder
    hint: give the folder with the downloaded files; `ttsvar models fetch NAME --weights DIR` downloads them
    "#);
}
