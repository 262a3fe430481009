//! DINOv2 against the official program and Hugging Face's, on small random weights in their own
//! files.

use std::{collections::HashMap, sync::Arc};

use candle_core::{Device, Tensor};
use serde_json::Value;
use ttsvar::{
    features::{Dinov2Features, PatchReduction},
    hub,
    image::{Filter, Resize},
    models::dinov2::{Dinov2, Tokens},
    nn::{Dtype, TensorInfo, TensorSource, Weights},
    search::{Extractor, Image},
};

use crate::support::{assert_close, assert_values_close, golden, json, tensors};

const FIXTURE: &str = "dinov2-tiny";
const TABLES: f32 = 3e-5;
const TOKENS: f32 = 3e-4;
const SCORES: f32 = 2e-3;

fn heads() -> Option<usize> {
    json(FIXTURE, "config.json")["num_heads"]
        .as_u64()
        .map(|heads| heads as usize)
}

/// The checkpoint of a variant (`reg`, `noreg`, `hf`) as `config.json` names its file.
fn checkpoint(variant: &str) -> Arc<dyn TensorSource> {
    let entry = &json(FIXTURE, "config.json")["variants"][variant];
    hub::open(
        golden(FIXTURE).join(entry["file"].as_str().or(entry["dir"].as_str()).unwrap()),
        &[],
    )
    .unwrap()
}

/// The model of a variant. It must know every tensor of the file but one, which training alone
/// needs.
fn model(variant: &str) -> Dinov2 {
    let weights = Weights::new(checkpoint(variant), Dtype::F32, &Device::Cpu);
    let model = Dinov2::load(&weights, heads()).unwrap();
    let unread = weights.unread();
    assert!(
        unread.iter().all(|name| name.ends_with("mask_token")),
        "{unread:?}"
    );
    model
}

/// A file that lacks whatever lies below a name.
struct Damaged(Arc<dyn TensorSource>, &'static str);

impl TensorSource for Damaged {
    fn origin(&self) -> String {
        self.0.origin()
    }

    fn names(&self) -> Vec<String> {
        self.0
            .names()
            .into_iter()
            .filter(|name| !name.starts_with(self.1))
            .collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.0.info(name).filter(|_| !name.starts_with(self.1))
    }

    fn load(&self, name: &str) -> ttsvar::Result<Tensor> {
        self.0.load(name)
    }
}

#[test]
fn a_part_that_is_missing_is_named() {
    for (missing, named) in [
        ("blocks.0.", "blocks.0.norm1.weight"),
        ("blocks", "blocks.0.norm1.weight"),
        ("pos_embed", "pos_embed"),
    ] {
        let weights = Weights::new(
            Arc::new(Damaged(checkpoint("reg"), missing)),
            Dtype::F32,
            &Device::Cpu,
        );
        let error = Dinov2::load(&weights, heads()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{named}`")),
            "without {missing}: {error}"
        );
    }
}

fn triple(value: &Value) -> [f32; 3] {
    std::array::from_fn(|i| value[i].as_f64().unwrap() as f32)
}

fn images(list: &str) -> Vec<Image> {
    let files: Vec<String> =
        serde_json::from_value(json(FIXTURE, "golden.json")[list].clone()).unwrap();
    files
        .iter()
        .map(|file| ttsvar::image::open(golden(FIXTURE).join(file)).unwrap())
        .collect()
}

/// The pictures of a list in `golden.json`, as the model reads them: (B, 3, H, W).
fn pictures(list: &str) -> Tensor {
    let config = json(FIXTURE, "config.json");
    let [height, width] = [0, 1].map(|i| config["resize"][i].as_u64().unwrap() as usize);
    let planes = |image: &Image| {
        let image = image.resize(width, height, Filter::Bilinear);
        let planes = image.to_chw(triple(&config["pixel_mean"]), triple(&config["pixel_std"]));
        Tensor::from_vec(planes, (3, height, width), &Device::Cpu).unwrap()
    };
    let pictures: Vec<Tensor> = images(list).iter().map(planes).collect();
    Tensor::stack(&pictures, 0).unwrap()
}

/// The first rows of `found` that were recorded.
fn recorded(what: &str, found: &Tensor, expected: &HashMap<String, Tensor>) {
    let expected = &expected[what];
    assert_close(
        what,
        &found.narrow(0, 0, expected.dims()[0]).unwrap(),
        expected,
        TOKENS,
        0.,
    );
}

/// The size in pixels that a recording's name ends in: one number, or height `x` width.
fn size_of(name: &str) -> Option<(usize, usize)> {
    let (_, size) = name.rsplit_once("cls_")?;
    let (height, width) = size.split_once('x').unwrap_or((size, size));
    Some((height.parse().ok()?, width.parse().ok()?))
}

/// Tokens at the size of the recordings, of the pictures together and, bit for bit, one by one.
fn tokens(model: &Dinov2) -> Tokens {
    let pictures = pictures("images");
    let together = model.forward(&pictures).unwrap();
    for i in 0..pictures.dims()[0] {
        let alone = model.forward(&pictures.narrow(0, i, 1).unwrap()).unwrap();
        for (alone, together) in [
            (alone.cls, &together.cls),
            (alone.patches, &together.patches),
        ] {
            assert_eq!(
                crate::support::values(&alone),
                crate::support::values(&together.narrow(0, i, 1).unwrap()),
                "picture {i} alone"
            );
        }
    }
    together
}

/// The class token at every size that the recordings of a variant have.
fn other_sizes(variant: &str, model: &Dinov2, expected: &HashMap<String, Tensor>) {
    let first = expected["pixel_values"].narrow(0, 0, 1).unwrap();
    let sized = |name: &str| name.strip_prefix(variant).and_then(size_of);
    for (name, expected) in expected.iter().filter(|(name, _)| sized(name).is_some()) {
        let (height, width) = sized(name).unwrap();
        let pixels = nearest(&first, height, width);
        assert_close(
            name,
            &model.forward(&pixels).unwrap().cls,
            expected,
            TOKENS,
            0.,
        );
    }
}

/// PyTorch's `interpolate(mode="nearest")`: the source is the truncated quotient.
fn nearest(x: &Tensor, height: usize, width: usize) -> Tensor {
    let pick = |x: &Tensor, axis: usize, to: usize| {
        let from = x.dims()[axis];
        let index: Vec<u32> = (0..to).map(|i| (i * from / to) as u32).collect();
        x.index_select(&Tensor::from_vec(index, to, &Device::Cpu).unwrap(), axis)
            .unwrap()
    };
    pick(&pick(x, 2, height), 3, width)
}

/// The table of positions at the grid that its recording's name ends in: rows `x` columns.
fn positions(variant: &str, model: &Dinov2, expected: &HashMap<String, Tensor>) {
    let prefix = format!("{variant}.pos_embed_");
    let mut tables = 0;
    for (name, expected) in expected {
        let Some((rows, columns)) = name
            .strip_prefix(&prefix)
            .and_then(|grid| grid.split_once('x'))
        else {
            continue;
        };
        let found = model
            .positions(rows.parse().unwrap(), columns.parse().unwrap())
            .unwrap();
        assert_close(name, &found, expected, TABLES, 0.);
        tables += 1;
    }
    assert!(
        tables > 0,
        "no table of positions was recorded for {variant}"
    );
}

#[test]
fn parity_dinov2_tiny_with_registers() {
    let (model, expected) = (model("reg"), tensors(FIXTURE, "golden.safetensors"));
    positions("reg", &model, &expected);
    let tokens = tokens(&model);
    recorded("reg.x_norm_clstoken", &tokens.cls, &expected);
    recorded("reg.x_norm_regtokens", &tokens.registers, &expected);
    recorded("reg.x_norm_patchtokens", &tokens.patches, &expected);
    recorded(
        "reg.x_norm_patchtokens_mean",
        &tokens.patches.mean(1).unwrap(),
        &expected,
    );
    other_sizes("reg.", &model, &expected);
    let extract = tensors(FIXTURE, "golden_extract.safetensors");
    recorded(
        "k.cls",
        &model.forward(&pictures("cluster_images")).unwrap().cls,
        &extract,
    );
}

#[test]
fn parity_dinov2_tiny_without_registers() {
    let (model, expected) = (model("noreg"), tensors(FIXTURE, "golden.safetensors"));
    positions("noreg", &model, &expected);
    let tokens = tokens(&model);
    assert_eq!(tokens.registers.dims()[1], 0);
    recorded("noreg.x_norm_clstoken", &tokens.cls, &expected);
    recorded("noreg.x_norm_patchtokens", &tokens.patches, &expected);
    other_sizes("noreg.", &model, &expected);
}

#[test]
fn parity_dinov2_tiny_hugging_face() {
    let (model, expected) = (model("hf"), tensors(FIXTURE, "golden.safetensors"));
    positions("hf", &model, &expected);
    let tokens = tokens(&model);
    recorded("hf.cls", &tokens.cls, &expected);
    recorded("hf.patch", &tokens.patches, &expected);
}

/// The extract types as the original names them.
const KINDS: [(&str, PatchReduction); 4] = [
    ("pca", PatchReduction::PcaRaw),
    ("pca", PatchReduction::Pca),
    ("pca_all", PatchReduction::PcaAll),
    ("pool", PatchReduction::Pool),
];

#[test]
fn parity_dinov2_tiny_extracted_features() {
    let (model, config) = (Arc::new(model("reg")), json(FIXTURE, "config.json"));
    let size = [0, 1].map(|i| config["resize"][i].as_u64().unwrap() as usize);
    let (images, expected) = (
        images("cluster_images"),
        tensors(FIXTURE, "golden_extract.safetensors"),
    );
    for (name, kind) in KINDS {
        let extractor = Dinov2Features::new(model.clone(), kind, size).unwrap();
        let found = extractor.extract(&images).unwrap();
        let expected: Vec<Vec<f32>> = expected[&format!("{name}.scores")].to_vec2().unwrap();
        assert_eq!(found.rows(), expected.len());
        // A principal direction has no sign of its own: one a picture for `pca`, one in all for
        // `pca_all`.
        let common = sign(found.row(0), &expected[0]);
        for (i, expected) in expected.iter().enumerate() {
            let sign = match kind {
                PatchReduction::Pool => 1.,
                PatchReduction::PcaAll => common,
                PatchReduction::Pca | PatchReduction::PcaRaw => sign(found.row(i), expected),
            };
            let found: Vec<f32> = found.row(i).iter().map(|v| v * sign).collect();
            assert_values_close(
                &format!("{kind:?} of picture {i}"),
                &found,
                expected,
                SCORES,
                0.,
            );
        }
        for (i, image) in images
            .iter()
            .enumerate()
            .filter(|_| kind != PatchReduction::PcaAll)
        {
            let alone = extractor.extract(std::slice::from_ref(image)).unwrap();
            assert_eq!(alone.row(0), found.row(i), "{kind:?} of picture {i} alone");
        }
    }
}

fn sign(found: &[f32], expected: &[f32]) -> f32 {
    found
        .iter()
        .zip(expected)
        .map(|(f, e)| f * e)
        .sum::<f32>()
        .signum()
}

#[test]
fn sizes_that_patches_do_not_fill_are_refused() {
    let model = Arc::new(model("reg"));
    let size = [model.patch(), model.patch() + 1];
    let error = Dinov2Features::new(model, PatchReduction::Pool, size)
        .unwrap_err()
        .to_string();
    assert!(error.contains("multiples of"), "{error}");
}
