//! Bundles: from a folder, from memory, and from a folder of released downloads, each laid out in
//! several ways.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Device;
use tempfile::TempDir;
use ttsvar::{
    hub::{self, Blob, Bundle, Description, Folder, Location, ScorerFiles, catalog},
    models::{bsq_vae, dinov2::Dinov2, infinity::Infinity, t5::T5Encoder},
    nn::{Dtype, Weights},
    scorers::{aesthetic, clip_score, hps, image_reward, kind},
    text::{T5Tokenizer, WordPieceTokenizer},
};

use crate::support::golden;

const TOML: &str = r#"
name = "tiny"
about = "recordings put together"
version = "1"
[generator]
family = "infinity"
weights = "infinity.pth"
vae = "infinity_vae.pth"
scales = [[1, 1], [2, 2], [4, 4]]
rope_grid = [4, 4]
[text]
family = "t5"
weights = "t5"
words = ["a", "photo"]
[scorer]
family = "image-reward"
weights = "ImageReward.pt"
config = "med_config.json"
vocab = "vocab.txt"
heads = 4
[features]
family = "dinov2"
weights = "dinov2.pth"
heads = 4
size = [64, 64]
[defaults]
cfg = 2
tau = 0.5
method = "tts-var"
"#;

/// Recorded files under the names of a bundle.
const BUNDLE_FILES: [(&str, &str); 9] = [
    ("infinity-tiny/infinity_tiny.pth", "infinity.pth"),
    ("infinity-tiny/infinity_vae_tiny.pth", "infinity_vae.pth"),
    ("t5-tiny/config.json", "t5/config.json"),
    ("t5-tiny/tokenizer.json", "t5/tokenizer.json"),
    ("t5-tiny/model.safetensors", "t5/model.safetensors"),
    ("imagereward-tiny/ImageReward.pt", "ImageReward.pt"),
    ("imagereward-tiny/med_config.json", "med_config.json"),
    ("imagereward-tiny/vocab.txt", "vocab.txt"),
    ("dinov2-tiny/dinov2_vitl14_reg4_pretrain.pth", "dinov2.pth"),
];

fn put(folder: &Path, recorded: &str, name: &str) {
    let target = folder.join(name);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    let (fixture, file) = recorded.split_once('/').unwrap();
    fs::copy(golden(fixture).join(file), target).unwrap();
}

/// A folder with the recorded files under these names.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files
        .iter()
        .for_each(|(recorded, name)| put(folder.path(), recorded, name));
    folder
}

/// The bundle's ImageReward.
fn scorer(bundle: &Bundle) -> ScorerFiles {
    assert_eq!(bundle.default_scorer().unwrap(), "image-reward");
    bundle.scorer(&image_reward::KIND.release).unwrap()
}

/// Every part opens, and the files are those of the fixtures.
fn all_parts_open(bundle: &Bundle) {
    assert_eq!(
        bundle.missing(&[&image_reward::KIND.release]).unwrap(),
        Vec::<String>::new()
    );
    let same = |recorded: PathBuf, found: Vec<String>| {
        assert_eq!(hub::open(recorded, &["vae"]).unwrap().names(), found);
    };
    same(
        golden("infinity-tiny").join("infinity_tiny.pth"),
        bundle
            .generator_weights(&Infinity::SIGNATURE)
            .unwrap()
            .names(),
    );
    same(
        golden("infinity-tiny").join("infinity_vae_tiny.pth"),
        bundle.vae_weights(&bsq_vae::SIGNATURE).unwrap().names(),
    );
    same(
        golden("t5-tiny"),
        bundle.text_weights(&T5Encoder::SIGNATURE).unwrap().names(),
    );
    same(
        golden("imagereward-tiny").join("ImageReward.pt"),
        scorer(bundle).weights().unwrap().names(),
    );
    same(
        golden("dinov2-tiny").join("dinov2_vitl14_reg4_pretrain.pth"),
        bundle
            .features_weights(&Dinov2::SIGNATURE)
            .unwrap()
            .unwrap()
            .names(),
    );
    assert!(
        T5Tokenizer::open(&bundle.tokenizer().unwrap())
            .unwrap()
            .size()
            > 0
    );
    assert!(
        WordPieceTokenizer::open(&scorer(bundle).vocabulary().unwrap())
            .unwrap()
            .size()
            > 0
    );
    let width: serde_json::Value = bundle.text_config().unwrap().json().unwrap();
    assert!(width["d_model"].is_u64());
    assert!(bundle.features_config().unwrap().is_none());
}

#[test]
fn a_bundle_opens_from_a_folder_and_from_memory() {
    let folder = folder(&BUNDLE_FILES);
    fs::write(folder.path().join("bundle.toml"), TOML).unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();
    all_parts_open(&bundle);
    let description = &bundle.description;
    assert_eq!(
        description.generator.scales,
        Some(vec![(1, 1), (2, 2), (4, 4)])
    );
    assert_eq!(
        (description.defaults.cfg.clone(), description.defaults.n),
        (Some(2.0.into()), None)
    );

    let names = BUNDLE_FILES
        .map(|(_, name)| name)
        .into_iter()
        .chain(["bundle.toml"]);
    let files: Vec<(&str, &[u8])> = names
        .map(|name| (name, &*fs::read(folder.path().join(name)).unwrap().leak()))
        .collect();
    all_parts_open(&Bundle::embedded("demo", files.leak()).unwrap());
}

/// Recorded files under the names of the released Infinity-2B and its companions.
const RELEASED_FILES: [(&str, &str); 8] = [
    ("infinity-tiny/infinity_tiny.pth", "infinity_2b_reg.pth"),
    (
        "infinity-tiny/infinity_vae_tiny.pth",
        "infinity_vae_d32reg.pth",
    ),
    ("t5-tiny/config.json", "flan-t5-xl/config.json"),
    ("t5-tiny/tokenizer.json", "flan-t5-xl/tokenizer.json"),
    ("t5-tiny/model.safetensors", "flan-t5-xl/model.safetensors"),
    ("imagereward-tiny/ImageReward.pt", "ImageReward.pt"),
    ("imagereward-tiny/vocab.txt", "vocab.txt"),
    (
        "dinov2-tiny/dinov2_vitl14_reg4_pretrain.pth",
        "dinov2_vitl14_reg4_pretrain.pth",
    ),
];

#[test]
fn released_downloads_are_found_in_every_usual_layout() {
    let layout = |place: fn(&str) -> String| {
        let names: Vec<(&str, String)> = RELEASED_FILES
            .iter()
            .map(|(from, to)| (*from, place(to)))
            .collect();
        let names: Vec<(&str, &str)> = names
            .iter()
            .map(|(from, to)| (*from, to.as_str()))
            .collect();
        let folder = folder(&names);
        all_parts_open(&Bundle::released("infinity-2b", folder.path()).unwrap());
    };
    layout(str::to_owned);
    layout(|name| match name {
        "infinity_2b_reg.pth" | "infinity_vae_d32reg.pth" => format!("infinity-2b/{name}"),
        "ImageReward.pt" => format!("image-reward/{name}"),
        "vocab.txt" => format!("bert-base-uncased/{name}"),
        "dinov2_vitl14_reg4_pretrain.pth" => format!("dinov2-l-reg/{name}"),
        name => name.to_owned(),
    });
    layout(|name| match name.split_once('/') {
        Some((_, file)) => format!("models--google--flan-t5-xl/snapshots/0123abcd/{file}"),
        None if name.starts_with("infinity") => {
            format!("models--FoundationVision--Infinity/snapshots/89ef/{name}")
        }
        None if name == "ImageReward.pt" => {
            format!("models--THUDM--ImageReward/snapshots/5736/{name}")
        }
        None => name.to_owned(),
    });
    layout(|name| name.rsplit('/').next().unwrap_or(name).to_owned());
    // As the READMEs, notebooks and libraries of the originals call them
    layout(|name| match name.split_once('/') {
        Some((_, file)) => format!("flan-t5-xl-official/{file}"),
        None if name == "infinity_vae_d32reg.pth" => "infinity_vae_d32_reg.pth".to_owned(),
        None if name == "ImageReward.pt" => format!("ImageReward/{name}"),
        None if name == "vocab.txt" => {
            format!("models--bert-base-uncased/snapshots/86b5/{name}")
        }
        None if name.starts_with("dinov2") => format!("torch/hub/checkpoints/{name}"),
        None => name.to_owned(),
    });
    layout(|name| match name.split_once('/') {
        Some((_, file)) => format!("hub/models--google--flan-t5-xl/snapshots/0123abcd/{file}"),
        None if name.starts_with("dinov2") => format!("hub/checkpoints/{name}"),
        None => name.to_owned(),
    });
}

#[test]
fn a_file_of_nearly_the_same_name_is_named() {
    let similar = |present: &str| {
        let folder = folder(&[("infinity-tiny/infinity_tiny.pth", present)]);
        let bundle = Bundle::released("infinity-2b", folder.path()).unwrap();
        bundle.missing_of_generator()
    };
    let missing = similar("infinity_2b_reg(1).pth");
    assert_eq!(
        missing[0],
        "infinity_2b_reg.pth (Hugging Face FoundationVision/Infinity; \
         found the similar infinity_2b_reg(1).pth)"
    );
    let missing = similar("flan-t5-xl-main/model.safetensors");
    assert!(
        missing[2].contains("found the similar flan-t5-xl-main/"),
        "{missing:?}"
    );
    // A released file is no other one.
    let missing = similar("infinity_vae_d32.pth");
    assert!(!missing.concat().contains("similar"), "{missing:?}");
    let missing = similar("notes.txt");
    assert!(!missing.concat().contains("similar"), "{missing:?}");
}

#[test]
fn models_of_8b_have_the_temperature_of_their_notebooks() {
    let tau = |name: &str| hub::released::description(name).unwrap().defaults.tau;
    assert_eq!(tau("infinity-2b"), Some(0.5.into()));
    assert_eq!(tau("infinity-8b"), Some(1.0.into()));
    assert_eq!(tau("infinity-8b-512"), Some(1.0.into()));
}

#[test]
fn what_is_missing_of_a_released_model_is_named_with_its_source() {
    let folder = folder(&RELEASED_FILES[1..5]);
    let bundle = Bundle::released("infinity-2b", folder.path()).unwrap();
    let missing = bundle.missing(&[&image_reward::KIND.release]).unwrap();
    assert_eq!(missing.len(), 4, "{missing:?}");
    let others = bundle
        .missing(&[
            &hps::KIND.release,
            &clip_score::KIND.release,
            &aesthetic::KIND.release,
        ])
        .unwrap();
    assert_eq!(others.len(), 7, "{others:?}");
    assert!(
        others.contains(&"merges.txt (Hugging Face openai/clip-vit-large-patch14)".to_owned()),
        "{others:?}"
    );
    assert_eq!(
        missing[0],
        "infinity_2b_reg.pth (Hugging Face FoundationVision/Infinity)"
    );
    let error = bundle
        .generator_weights(&Infinity::SIGNATURE)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("contains no `infinity_2b_reg.pth` of infinity-2b"),
        "{error}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("Hugging Face FoundationVision/Infinity"),
        "{:?}",
        error.hint()
    );
    let config: serde_json::Value = scorer(&bundle).config().unwrap().json().unwrap();
    assert_eq!(
        config["num_attention_heads"], 12,
        "the released text tower's settings are built in"
    );
    let config: serde_json::Value = bundle
        .scorer(&hps::KIND.release)
        .unwrap()
        .config()
        .unwrap()
        .json()
        .unwrap();
    assert_eq!(
        config["text_cfg"]["heads"], 16,
        "the released model's settings are built in"
    );
    let message = Bundle::released("infinity-9b", folder.path())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`infinity-9b`") && message.contains("infinity-8b-512"),
        "{message}"
    );
    for name in hub::released::NAMES {
        assert_eq!(
            Bundle::released(name, folder.path())
                .unwrap()
                .description
                .name,
            name
        );
    }
}

#[test]
fn the_catalogue_reports_which_files_are_present() {
    let folder = folder(&RELEASED_FILES);
    let place = Folder::Disk(folder.path().to_owned());
    let check = |name: &str, expected: &[(&str, bool)]| {
        let files = catalog::entry(name).unwrap().presence(&place);
        let found: Vec<_> = files
            .iter()
            .map(|file| (file.file.as_str(), file.found.is_some()))
            .collect();
        assert_eq!(found, expected, "{name}");
    };
    check(
        "infinity-2b",
        &[
            ("infinity_2b_reg.pth", true),
            ("infinity_vae_d32reg.pth", true),
        ],
    );
    check(
        "flan-t5-xl",
        &[
            ("config.json", true),
            ("tokenizer.json", true),
            ("model.safetensors", true),
        ],
    );
    check("hps-v2.1", &[("HPS_v2.1_compressed.pt", false)]);
    check(
        "clip-vit-large-patch14",
        &[
            ("config.json", false),
            ("tokenizer.json", false),
            ("model.safetensors", false),
        ],
    );
}

/// The message and the hint for a `bundle.toml` in which `from` was replaced by `to`.
fn fault(from: &str, to: &str) -> String {
    assert!(TOML.contains(from), "{from}");
    let bytes = TOML.replacen(from, to, 1).into_bytes().leak();
    let blob = Blob::Memory {
        name: "bundle.toml".into(),
        bytes,
    };
    let error = open_scorers(&blob).expect_err("a fault");
    format!("{error}; {}", error.hint().expect("a hint"))
}

/// Reads a description, and what it says about scorers as those who load them do.
fn open_scorers(toml: &Blob) -> ttsvar::Result<()> {
    let description = Description::read(toml)?;
    let bytes = toml.text()?.into_bytes().leak();
    let files: &'static [(&str, &[u8])] = vec![("bundle.toml", &*bytes)].leak();
    let bundle = Bundle::embedded("tiny", files)?;
    for scorer in &description.scorer {
        bundle.scorer(&kind(&scorer.family)?.release)?;
    }
    Ok(())
}

#[test]
fn the_shipped_demo_opens_and_reads_its_own_words() {
    let bundle = Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo")).unwrap();
    let own = &image_reward::DEMO_KIND.release;
    assert_eq!(bundle.missing(&[own]).unwrap(), Vec::<String>::new());
    assert_eq!(bundle.default_scorer().unwrap(), own.family);
    let sources = [
        bundle.generator_weights(&Infinity::SIGNATURE),
        bundle.vae_weights(&bsq_vae::SIGNATURE),
    ]
    .map(Result::unwrap);
    let others = [
        bundle.scorer(own).unwrap().weights().unwrap(),
        bundle
            .features_weights(&Dinov2::SIGNATURE)
            .unwrap()
            .unwrap(),
    ];
    assert!(
        sources
            .iter()
            .chain(&others)
            .all(|source| !source.names().is_empty())
    );
    let weights = Weights::new(
        bundle.text_weights(&T5Encoder::SIGNATURE).unwrap(),
        Dtype::F32,
        &Device::Cpu,
    );
    let encoder =
        T5Encoder::load(&weights, &bundle.text_config().unwrap().json().unwrap()).unwrap();
    let tokenizer = T5Tokenizer::open(&bundle.tokenizer().unwrap()).unwrap();
    let words = bundle.description.text.unwrap().words.unwrap();
    let unknown = tokenizer.encode("xylophone").unwrap()[0];
    for word in &words {
        let ids = tokenizer.encode(word).unwrap();
        assert!(ids.len() > 1 && !ids.contains(&unknown), "{word}");
    }
    let ids = tokenizer.encode(&words.join(" ")).unwrap();
    assert_eq!(
        encoder.encode(&ids).unwrap().dims(),
        [ids.len(), encoder.sizes().width]
    );
}

#[test]
fn a_wrong_description_is_refused_with_what_is_right() {
    let cases = [
        (
            "rope_grid",
            "rope_gird",
            [
                "line 10: unknown field `rope_gird`",
                "; remove `rope_gird`, or correct its name",
            ],
        ),
        (
            "\"infinity\"",
            "\"gan\"",
            ["unknown variant `gan`", "`infinity`"],
        ),
        (
            "\"infinity\"",
            "\"var\"",
            ["`var` has no text encoder", "remove [text]"],
        ),
        (
            "vae = \"infinity_vae.pth\"",
            "vae = \"infinity_vae.pth\"\nclasses = [\"a\"]",
            [
                "`classes` only applies to the families `var` and `flexar-class`",
                "text-conditional; remove `classes`",
            ],
        ),
        (
            "vae = \"infinity_vae.pth\"",
            "",
            ["line 5: missing field `vae`", "; add `vae`"],
        ),
        (
            "[[1, 1], [2, 2], [4, 4]]",
            "[]",
            ["`scales`", "at least one"],
        ),
        ("[2, 2]", "[0, 2]", ["1 to 4096 tokens", "not 0"]),
        (
            "[[1, 1], [2, 2]",
            "[[3, 3], [2, 2]",
            ["scale 1 is smaller", "coarse to fine"],
        ),
        ("heads = 4", "heads = 0", ["`heads`", "at least 1"]),
        (
            "tau = 0.5",
            "tau = 0",
            ["tau must be 0.000001 or more", "found 0"],
        ),
        (
            "tau = 0.5",
            "tau = [1, 0]",
            ["tau at scale 1 must be 0.000001 or more", "found 0"],
        ),
        (
            "cfg = 2",
            "cfg = nan",
            ["cfg must be a finite number", "NaN"],
        ),
        (
            "cfg = 2",
            "top_p = 1.5",
            ["top-p must be from 0 to 1", "1.5"],
        ),
        ("cfg = 2", "n = 0", ["n must be 1 or more", "defaults"]),
        ("cfg = 2", "cfg = ", ["line 27", "expected"]),
        (
            "vocab = \"vocab.txt\"",
            "encoder = \"x\"",
            ["scorer `image-reward`", "the key `vocab` is missing; add"],
        ),
        (
            "family = \"image-reward\"",
            "family = \"clip\"",
            ["scorer `clip`", "unknown key `config`"],
        ),
        (
            "family = \"image-reward\"",
            "family = \"taste\"",
            ["unknown scorer family `taste`", ""],
        ),
        (
            "[scorer]",
            "[[scorer]]\nfamily = \"clip\"\nweights = \"\"\n[[scorer]]",
            ["names of files", "empty"],
        ),
        ("name = \"tiny\"", "name = \"\"", ["`name`", "empty"]),
        (
            "\"infinity.pth\"",
            "\"../infinity.pth\"",
            [
                "must lie inside the bundle's folder",
                "not `../infinity.pth`",
            ],
        ),
        (
            "\"vocab.txt\"",
            "\"/etc/vocab.txt\"",
            [
                "must lie inside the bundle's folder",
                "not `/etc/vocab.txt`",
            ],
        ),
    ];
    for (from, to, parts) in cases {
        let message = fault(from, to);
        println!("{message}");
        assert!(
            !message.contains('\n') && parts.iter().all(|part| message.contains(part)),
            "{message}"
        );
    }
}

#[test]
fn a_bundle_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = Bundle::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("no `bundle.toml`"), "{message}");
    let message = Bundle::open(&folder.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(message.ends_with("none: no such folder"), "{message}");
    fs::write(folder.path().join("bundle.toml"), TOML).unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();
    assert_eq!(
        bundle
            .missing(&[&image_reward::KIND.release])
            .unwrap()
            .len(),
        7
    );
    let error = bundle.missing(&[&hps::KIND.release]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`tiny` has no scorer `hps`; it has `image-reward`"),
        "{error}"
    );
    assert!(
        error.hint().unwrap().contains("hps-v2.1 and clip-bpe"),
        "{error:?}"
    );
    let message = bundle
        .generator_weights(&Infinity::SIGNATURE)
        .err()
        .unwrap()
        .to_string();
    assert!(message.ends_with("infinity.pth: no such file"), "{message}");
    let outside = TOML.replace("\"infinity.pth\"", "\"../infinity.pth\"");
    fs::write(folder.path().join("bundle.toml"), outside).unwrap();
    let message = Bundle::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("not `../infinity.pth`"), "{message}");
}

#[test]
fn names_of_files_may_begin_with_the_folder_itself() {
    let folder = folder(&BUNDLE_FILES);
    let toml = TOML
        .replace("\"infinity.pth\"", "\"./infinity.pth\"")
        .replace("weights = \"t5\"", "weights = \"./t5/\"");
    fs::write(folder.path().join("bundle.toml"), toml).unwrap();
    all_parts_open(&Bundle::open(folder.path()).unwrap());
}

#[test]
fn folders_in_memory_and_on_disk_are_alike() {
    static FILES: [(&str, &[u8]); 3] = [
        ("a.txt", b"A"),
        ("sub/b.txt", b"BB"),
        ("sub/deep/c.txt", b"CCC"),
    ];
    let disk = tempfile::tempdir().unwrap();
    for (name, bytes) in FILES {
        fs::create_dir_all(disk.path().join(name).parent().unwrap()).unwrap();
        fs::write(disk.path().join(name), bytes).unwrap();
    }
    for folder in [
        Folder::embedded("set", &FILES),
        Folder::Disk(disk.path().to_owned()),
    ] {
        assert_eq!(folder.names(), ["a.txt"]);
        assert_eq!(folder.require("sub/b.txt").unwrap().text().unwrap(), "BB");
        let Some(Location::Folder(sub)) = folder.find("sub") else {
            panic!("a folder")
        };
        assert_eq!(
            (sub.names(), sub.folders().len()),
            (vec!["b.txt".to_owned()], 1)
        );
        assert_eq!(sub.require("deep/c.txt").unwrap().len().unwrap(), 3);
        for outside in [
            "",
            "..",
            "../a.txt",
            "sub/../../x",
            "/etc/passwd",
            "su",
            "none",
        ] {
            assert!(sub.find(outside).is_none(), "{outside}");
        }
    }
}

#[test]
fn the_description_in_the_manual_is_valid() {
    let manual = include_str!("../../docs/weights.md");
    let examples = manual.split("```toml\n").skip(1);
    let names = examples.map(|rest| {
        let toml = rest.split("```").next().expect("the end of an example");
        let description = Description::read(&Blob::Memory {
            name: "docs/weights.md".into(),
            bytes: toml.as_bytes(),
        });
        description.unwrap().name
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["demo", "shapes", "switti-1024", "flexar-1b"]
    );
}

#[test]
fn a_bundle_may_bring_several_scorers() {
    let several = "[[scorer]]\nfamily = \"hps\"\nweights = \"hps.pt\"\nvocab = \"bpe.txt.gz\"\n\
                   [[scorer]]\nfamily = \"clip\"\nweights = \"clip\"\n\
                   [[scorer]]\nfamily = \"aesthetic\"\nweights = \"head.pth\"\nencoder = \"siglip\"\n[[scorer]]";
    let folder = folder(&[
        ("hpsv2-tiny/HPS_v2.1_compressed.pt", "hps.pt"),
        ("hpsv2-tiny/bpe_simple_vocab.txt.gz", "bpe.txt.gz"),
        ("clip-tiny/model/config.json", "clip/config.json"),
    ]);
    fs::write(
        folder.path().join("bundle.toml"),
        TOML.replacen("[scorer]", several, 1),
    )
    .unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();
    assert_eq!(bundle.default_scorer().unwrap(), "hps", "the first");
    let missing = |family| bundle.scorer(family).unwrap().missing();
    assert!(
        missing(&hps::KIND.release).is_empty() && missing(&clip_score::KIND.release).is_empty()
    );
    assert_eq!(missing(&aesthetic::KIND.release), ["head.pth", "siglip"]);
    assert!(
        bundle
            .scorer(&hps::KIND.release)
            .unwrap()
            .weights()
            .unwrap()
            .info("visual.proj")
            .is_some()
    );
    let error = bundle
        .scorer(&clip_score::KIND.release)
        .unwrap()
        .vocabulary()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("clip/tokenizer.json: no such file"),
        "{error}"
    );
    let twice = TOML.replacen(
        "[scorer]",
        &several.replacen("\"clip\"", "\"image-reward\"\nvocab = \"v\"", 1),
        1,
    );
    let error = Description::read(&Blob::Memory {
        name: "b".into(),
        bytes: twice.into_bytes().leak(),
    })
    .unwrap_err();
    assert!(
        error.to_string().contains("two scorers are `image-reward`"),
        "{error}"
    );
}
