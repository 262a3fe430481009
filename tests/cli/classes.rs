//! Models of classes: `--class`, lists, records, and what is refused.

use insta::assert_snapshot;
use serde_json::Value;
use ttsvar::{options::ClassChoice, report::Provenance, request::Recorded};

use crate::{
    desk::Desk,
    support::{golden, json, var},
};

/// A desk with the recorded VAR as `bundle`.
fn desk(more: &str) -> Desk {
    let desk = Desk::new();
    var::write_bundle(&desk.path("bundle"), more);
    desk
}

/// Names for the 20 classes of the recorded VAR.
fn names() -> String {
    let mut names: Vec<String> = (0..20).map(|i| format!("animal {i}")).collect();
    names[3] = "golden retriever".to_owned();
    names[4] = "golden eagle".to_owned();
    names[5] = "eagle".to_owned();
    format!("classes = {names:?}")
}

/// Flags of a short search.
const SHORT: [&str; 6] = ["--model", "bundle", "--method", "raw", "--seed", "5"];

#[test]
fn a_class_is_generated_recorded_and_repeated() {
    let desk = desk(&names());
    let numbered = [
        &["generate", "--class", "3", "-q", "--out", "a.png"],
        &SHORT[..],
    ]
    .concat();
    desk.works(&numbered);
    let named = [
        &[
            "generate",
            "--class",
            "Golden Retriever",
            "-q",
            "--out",
            "b.png",
        ],
        &SHORT[..],
    ]
    .concat();
    desk.works(&named);
    assert_eq!(desk.read("a.png"), desk.read("b.png"));
    let recorded = Recorded::open(&desk.path("a.png")).unwrap();
    assert_eq!(recorded.prompt, "a photo of a golden retriever");
    assert_eq!(recorded.options.class, Some(ClassChoice::from(3)));
    desk.works(&["generate", "--from", "a.png", "-q", "--out", "c.png"]);
    assert_eq!(desk.read("a.png"), desk.read("c.png"));
    desk.works(&[
        "generate", "--from", "a.png", "--class", "4", "-q", "--out", "d.png",
    ]);
    let other = Recorded::open(&desk.path("d.png")).unwrap();
    assert_eq!(other.prompt, "a photo of a golden eagle");
}

#[test]
fn a_list_of_classes_has_an_image_each() {
    let desk = desk(&names());
    desk.write("classes.txt", "17\n\ngolden retriever\n");
    let list = [
        &[
            "generate",
            "--classes",
            "classes.txt",
            "-q",
            "--out",
            "images",
        ],
        &SHORT[..],
    ];
    desk.works(&list.concat());
    for (file, class, seed) in [
        ("0001-a-photo-of-a-animal-17.png", 17, 5),
        ("0002-a-photo-of-a-golden-retriever.png", 3, 6),
    ] {
        let png = desk.png(&format!("images/{file}"));
        let provenance = Provenance::read(&png).unwrap().unwrap();
        assert_eq!(provenance.settings["class"], class);
        assert_eq!(provenance.seed, seed);
    }
    let said = desk.run_with(
        &[
            &["generate", "--classes", "-", "--json", "--out", "more"],
            &SHORT[..],
        ]
        .concat(),
        "eagle\nno such class\n",
    );
    assert_eq!(said.code, Some(2), "{said:?}");
    let line: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(line["settings"]["class"], 5);
    assert!(
        said.err
            .contains("prompt 2: no class is called `no such class`"),
        "{said:?}"
    );
}

#[test]
fn what_is_no_class_is_refused() {
    let desk = desk(&names());
    desk.write("empty.txt", "");
    let cases: [&[&str]; 11] = [
        &["generate", "--model", "bundle"],
        &["generate", "a golden retriever", "--model", "bundle"],
        &["generate", "a cat", "--class", "3", "--model", "bundle"],
        &["generate", "a ring", "--class", "3"],
        &["generate", "--class", "20", "--model", "bundle"],
        &["generate", "--class=-1", "--model", "bundle"],
        &["generate", "--class", "golden", "--model", "bundle"],
        &["generate", "--class", "retriever", "--model", "bundle"],
        &["generate", "--class", "", "--model", "bundle"],
        &["generate", "--classes", "empty.txt", "--model", "bundle"],
        &["plan", "--class", "3"],
    ];
    assert_snapshot!(cases.map(|arguments| desk.refuses(arguments)).join("\n"), @r#"
    $ generate --model bundle
    error: no class given
    hint: choose one by number or name, such as --class 207

    $ generate "a golden retriever" --model bundle
    error: this model is class-conditional: it takes a class, not a prompt
    hint: choose a class with --class instead of a prompt, such as --class 207

    $ generate "a cat" --class 3 --model bundle
    error: this model is class-conditional: it takes a class, not a prompt
    hint: choose a class with --class instead of a prompt, such as --class 207

    $ generate "a ring" --class 3
    error: this model takes a prompt, not a class
    hint: give a prompt instead of --class; only class-conditional models such as var-d30 take classes

    $ generate --class 20 --model bundle
    error: class 20: expected a class from 0 to 19
    hint: give the number or the name of a class, such as --class 0

    $ generate --class=-1 --model bundle
    error: class -1: expected a class from 0 to 19
    hint: give the number or the name of a class, such as --class 0

    $ generate --class golden --model bundle
    error: 2 classes begin with `golden`
    hint: did you mean `golden retriever` (3), `golden eagle` (4)?

    $ generate --class retriever --model bundle
    error: no class is called `retriever`
    hint: did you mean `golden retriever` (3)?

    $ generate --class "" --model bundle
    error: the class is empty
    hint: give the number or the name of a class, such as --class 207

    $ generate --classes empty.txt --model bundle
    error: empty.txt: contains no classes
    hint: write one class per line

    $ plan --class 3
    error: this model takes a prompt, not a class
    hint: give a prompt instead of --class; only class-conditional models such as var-d30 take classes
    "#);
}

#[test]
fn an_unknown_class_is_refused_before_the_model_is_loaded() {
    let desk = desk(&names());
    desk.write("bundle/vae.pth", "not a checkpoint");
    let refused = desk.refuses(&["generate", "--class", "20", "--model", "bundle"]);
    assert!(refused.contains("class 20"), "{refused}");
}

#[test]
fn plans_know_the_classes_without_the_weights() {
    let empty = Desk::new();
    for (model, class, message) in [
        (
            "var-d30",
            "9999",
            "class 9999: expected a class from 0 to 999",
        ),
        ("var-d30", "terrier", "no class is called `terrier`"),
        ("flexar-1b-class", "terrier", "no class is called `terrier`"),
        (
            "infinity-2b",
            "terrier",
            "this model takes a prompt, not a class",
        ),
    ] {
        let refused = empty.refuses(&["plan", "--model", model, "--class", class]);
        assert!(refused.contains(message), "{refused}");
    }
    let plan = ["plan", "raw", "--model", "bundle", "-q", "--class", "20"];
    let refused = desk(&names()).refuses(&plan);
    assert!(
        refused.contains("class 20: expected a class from 0 to 19"),
        "{refused}"
    );
}

#[test]
fn options_of_other_families_are_refused() {
    let desk = desk("");
    let cases: [&[&str]; 7] = [
        &["--negative", "a dog"],
        &["--steer", "auto"],
        &["--sampling", "soto"],
        &["--cfg-layer", "1"],
        &["--aspect", "16:9"],
        &["--pixels", "1M"],
        &["--tau", "1,1,1,1,1,1,1,1,1,1,1"],
    ];
    let refuse = |flags: &[&str]| {
        let command = ["generate", "--class", "3", "--model", "bundle"];
        desk.refuses(&[&command, flags].concat())
    };
    let said = cases.map(refuse).join("\n");
    assert_snapshot!(said.replace("$ generate --class 3 --model bundle ", "$ "), @r#"
    $ --negative "a dog"
    error: --negative is not an option of VAR
    hint: leave --negative out

    $ --steer auto
    error: --steer is not an option of VAR
    hint: leave --steer out

    $ --sampling soto
    error: --sampling is not an option of VAR
    hint: leave --sampling out

    $ --cfg-layer 1
    error: --cfg-layer is not an option of VAR
    hint: leave --cfg-layer out

    $ --aspect 16:9
    error: `var-tiny` only generates images of 160 x 160 pixels
    hint: leave --aspect and --pixels out

    $ --pixels 1M
    error: `var-tiny` only generates images of 160 x 160 pixels
    hint: leave --aspect and --pixels out

    $ --tau 1,1,1,1,1,1,1,1,1,1,1
    error: tau has 11 values, but the model has 10 scales
    hint: give one value, or at most one per scale; the last one applies to all later scales
    "#);
    let smooth = ["generate", "a ring", "--more-smooth"];
    assert!(desk.refuses(&smooth).contains("not an option of Infinity"));
}

#[test]
fn files_of_other_families_are_refused() {
    let desk = desk("");
    let generate = ["generate", "--class", "3", "--model", "bundle"];
    let mut said = vec![];
    // The transformer of the demo, which is an Infinity.
    let original = desk.read("bundle/var.pth");
    let demo = crate::desk::demo();
    desk.write(
        "bundle/var.pth",
        std::fs::read(demo.join("infinity.pth")).unwrap(),
    );
    said.push(desk.refuses(&generate));
    desk.write("bundle/var.pth", original);
    // The tokenizer of Infinity, and a transformer as the tokenizer.
    let original = desk.read("bundle/vae.pth");
    desk.write(
        "bundle/vae.pth",
        std::fs::read(demo.join("infinity_vae.pth")).unwrap(),
    );
    said.push(desk.refuses(&generate));
    desk.write("bundle/vae.pth", original);
    // VAR as an Infinity.
    let toml = desk.text("bundle/bundle.toml");
    desk.write(
        "bundle/bundle.toml",
        toml.replace("\"var\"", "\"infinity\""),
    );
    said.push(desk.refuses(&["generate", "a cat", "--model", "bundle"]));
    // Grids of another size.
    let grids = "scales = [[1, 1], [2, 2], [3, 3], [4, 4], [6, 6], [9, 9]]";
    let other = toml.replace("vae = \"vae.pth\"", &format!("vae = \"vae.pth\"\n{grids}"));
    desk.write("bundle/bundle.toml", other);
    said.push(desk.refuses(&generate));
    // Names of some classes only.
    let other = toml.replace(
        "vae = \"vae.pth\"",
        "vae = \"vae.pth\"\nclasses = [\"a\", \"b\"]",
    );
    desk.write("bundle/bundle.toml", other);
    said.push(desk.refuses(&generate));
    assert_snapshot!(said.join("\n"), @r#"
    $ generate --class 3 --model bundle
    error: bundle/var.pth: tensor `class_emb.weight` is missing: expected 2 axes
    hint: is this the right file for this model? `ttsvar models` names the files of each model

    $ generate --class 3 --model bundle
    error: bundle/vae.pth: tensor `quantize.embedding.weight` is missing: expected 2 axes
    hint: is this the right file for this model? `ttsvar models` names the files of each model

    $ generate "a cat" --model bundle
    error: bundle/bundle.toml: a table [text] must name the text encoder
    hint: add [text] with its `family` and the folder of its `weights`

    $ generate --class 3 --model bundle
    error: bundle/var.pth: expected token grids with sides 1, 2, 3, 4, 6, 9, found 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    hint: var_d36.pth is for 512 x 512 pixels, the other files are for 256 x 256; a bundle.toml may leave `scales` out

    $ generate --class 3 --model bundle
    error: `classes` of [generator] has 2 names, but the transformer has 20 classes
    hint: give every class a name, or leave `classes` out
    "#);
}

/// A checkpoint without one of the convolutions after the codes.
#[test]
fn a_missing_phi_is_named() {
    let desk = desk("");
    let config = json("var-tiny", "config.json");
    let vae = golden("var-tiny").join(config["files"]["vae"].as_str().unwrap());
    let source = ttsvar::hub::open(vae, &[] as &[&str]).unwrap();
    for missing in [0, 3] {
        let phi = format!("quantize.quant_resi.qresi_ls.{missing}.");
        let names = source.names().into_iter();
        let names = names.filter(|name| !name.starts_with(&phi));
        let tensors: std::collections::HashMap<_, _> = names
            .map(|name| (name.clone(), source.load(&name).unwrap()))
            .collect();
        candle_core::safetensors::save(&tensors, desk.path("bundle/vae.pth")).unwrap();
        let said = desk.refuses(&["generate", "--class", "3", "--model", "bundle"]);
        assert!(said.contains(&format!("tensor `{phi}weight`")), "{said}");
    }
}

#[test]
fn released_models_are_planned_without_weights() {
    let desk = Desk::new();
    let plan = |flags: &[&str]| {
        let said = desk.run(&[&["plan", "--json"], flags].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let small = plan(&["--model", "var-d16"]);
    let large = plan(&["--model", "var-d30"]);
    let fine = plan(&["--model", "var-d36", "--memory", "20G"]);
    assert_eq!(small["scales"][9]["grid"], serde_json::json!([16, 16]));
    assert_eq!(fine["scales"][9]["grid"], serde_json::json!([32, 32]));
    let flops = |plan: &Value| plan["flops"]["generator"].as_f64().unwrap();
    assert!(flops(&small) < flops(&large) && flops(&large) < flops(&fine));
    let refused = desk.refuses(&["plan", "--model", "var-d30", "--pixels", "1M"]);
    assert!(
        refused.contains("only generates images of 256 x 256"),
        "{refused}"
    );
    let missing = desk.refuses(&["generate", "--class", "207", "--model", "var-d16"]);
    assert!(
        missing.contains("`ttsvar models fetch var-d16` downloads"),
        "{missing}"
    );
}
