//! HPSv2.1 against the official program, on small random weights in its own file.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use ttsvar::{
    features::clip::{ClipSpace, normalised},
    hub::{self, Blob},
    image::{Filter, Preprocess, Resize},
    models::clip::{Clip, Config, OpenClipConfig},
    nn::{Dtype, Weights},
    scorers::Hps,
    search::{Image, Scorer},
    text::ClipTokenizer,
};

use crate::support::{assert_close, assert_values_close, golden, json, tensors, triple, values};

const FIXTURE: &str = "hpsv2-tiny";
const PIXELS: f32 = 1e-4;
const FEATURES: f32 = 3e-4;
const SCORES: f32 = 5e-5;

struct Fixture {
    weights: Weights,
    config: Config,
    images: Vec<Image>,
    prompts: Vec<String>,
    tensors: HashMap<String, Tensor>,
}

fn fixture() -> Fixture {
    let recorded = json(FIXTURE, "golden.json");
    let strings =
        |key: &str| -> Vec<String> { serde_json::from_value(recorded[key].clone()).unwrap() };
    let source = hub::open(
        golden(FIXTURE).join("HPS_v2.1_compressed.pt"),
        &["state_dict"],
    )
    .unwrap();
    let config: OpenClipConfig =
        serde_json::from_value(json(FIXTURE, "open_clip_model_config.json")).unwrap();
    Fixture {
        weights: Weights::new(source, Dtype::F32, &Device::Cpu),
        config: config.into(),
        images: strings("images")
            .iter()
            .map(|name| ttsvar::image::open(golden(FIXTURE).join(name)).unwrap())
            .collect(),
        prompts: strings("prompts"),
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

impl Fixture {
    fn scorer(&self) -> Hps {
        Hps::load(&self.weights, &self.config, tokenizer()).unwrap()
    }
}

fn tokenizer() -> ClipTokenizer {
    ClipTokenizer::open_clip(&Blob::Disk(golden(FIXTURE).join("bpe_simple_vocab.txt.gz"))).unwrap()
}

#[test]
fn parity_hpsv2_tiny_texts() {
    let Fixture {
        weights,
        config,
        prompts,
        tensors,
        ..
    } = fixture();
    let (clip, tokenizer) = (Clip::load(&weights, &config).unwrap(), tokenizer());
    let mut features = vec![];
    for (prompt, padded) in prompts
        .iter()
        .zip(tensors["input_ids"].to_vec2::<i64>().unwrap())
    {
        let ids = tokenizer.encode(prompt).unwrap();
        let mut expected: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        expected.resize(ClipTokenizer::MAX_TOKENS, 0);
        assert_eq!(expected, padded, "ids of {prompt:?}");
        features.push(clip.embed_text(&ids).unwrap());
    }
    let features = Tensor::stack(&features, 0).unwrap();
    assert_close(
        "text_features_raw",
        &features,
        &tensors["text_features_raw"],
        FEATURES,
        0.,
    );
    let features = normalised(&features).unwrap();
    assert_close(
        "text_features",
        &features,
        &tensors["text_features"],
        FEATURES,
        0.,
    );
}

#[test]
fn parity_hpsv2_tiny_images() {
    let fixture = fixture();
    let Fixture {
        weights,
        config,
        images,
        tensors,
        ..
    } = &fixture;
    let (clip, scorer) = (Clip::load(weights, config).unwrap(), fixture.scorer());
    let pixels = scorer.space().pixels(images).unwrap();
    let expected = &tensors["pixel_values"];
    assert_close(
        "pixel_values",
        &pixels.narrow(0, 0, expected.dims()[0]).unwrap(),
        expected,
        PIXELS,
        0.,
    );
    let features = clip.embed_images(&pixels).unwrap();
    assert_close(
        "image_features_raw",
        &features,
        &tensors["image_features_raw"],
        FEATURES,
        0.,
    );
    let features = scorer.space().embed_pixels(&pixels).unwrap();
    assert_close(
        "image_features",
        &features,
        &tensors["image_features"],
        FEATURES,
        0.,
    );
    assert_eq!(
        weights.unread(),
        ["logit_scale"],
        "tensors that nothing reads"
    );
    let scale = weights.get((), "logit_scale").unwrap().reshape(1).unwrap();
    assert_close("logit_scale", &scale, &tensors["logit_scale"], 1e-6, 0.);
}

/// What other ways to prepare pictures would score, recorded to tell wrong ones apart.
#[test]
fn parity_hpsv2_tiny_scores_of_other_geometries() {
    let Fixture {
        weights,
        config,
        images,
        prompts,
        tensors,
        ..
    } = fixture();
    let clip = Clip::load(&weights, &config).unwrap();
    let side = clip.vision_model.side();
    let cropped = ClipSpace::new(clip.clone(), tokenizer(), Preprocess::CLIP).unwrap();
    let boxed: Vec<f32> = images
        .iter()
        .flat_map(|image| letterboxed(image, side))
        .collect();
    let boxed = Tensor::from_vec(boxed, (images.len(), 3, side, side), &Device::Cpu).unwrap();
    let boxed = normalised(&clip.embed_images(&boxed).unwrap())
        .unwrap()
        .t()
        .unwrap()
        .contiguous()
        .unwrap();
    for (p, prompt) in prompts.iter().enumerate() {
        let row = |name: &str| values(&tensors[name].get(p).unwrap());
        let name = "scores_with_center_crop";
        assert_values_close(
            name,
            &cropped.cosines(prompt, &images).unwrap(),
            &row(name),
            SCORES,
            0.,
        );
        let scores = cropped.embed_text(prompt).unwrap().matmul(&boxed).unwrap();
        let name = "scores_with_pil_letterbox";
        assert_values_close(name, &values(&scores), &row(name), SCORES, 0.);
    }
}

/// The geometry of HPSv2 with pictures of 8 bits that Pillow resized.
fn letterboxed(image: &Image, side: usize) -> Vec<f32> {
    let scale = side as f64 / image.width().max(image.height()) as f64;
    let fitted = |length: usize| (length as f64 * scale).round_ties_even() as usize;
    let resized = image.resize(
        fitted(image.width()),
        fitted(image.height()),
        Filter::Bicubic,
    );
    let (left, top) = ((side - resized.width()) / 2, (side - resized.height()) / 2);
    let mut pixels = vec![0; 3 * side * side];
    for (y, row) in resized
        .pixels()
        .chunks_exact(3 * resized.width())
        .enumerate()
    {
        let at = 3 * ((top + y) * side + left);
        pixels[at..at + row.len()].copy_from_slice(row);
    }
    let config = json(FIXTURE, "config.json");
    Image::new(side, side, pixels)
        .to_chw(triple(&config["pixel_mean"]), triple(&config["pixel_std"]))
}

#[test]
fn parity_hpsv2_tiny_scores() {
    let fixture = fixture();
    let scorer = fixture.scorer();
    for (p, prompt) in fixture.prompts.iter().enumerate() {
        let scores = scorer.score(prompt, &fixture.images).unwrap();
        let expected = values(&fixture.tensors["scores"].get(p).unwrap());
        assert_values_close(
            &format!("scores of prompt {p}"),
            &scores,
            &expected,
            SCORES,
            0.,
        );
        for (image, score) in fixture.images.iter().zip(&scores) {
            let alone = scorer.score(prompt, std::slice::from_ref(image)).unwrap();
            assert_eq!(alone[0].to_bits(), score.to_bits(), "alone and in company");
        }
    }
    assert!(scorer.score("a", &[]).unwrap().is_empty());
}

#[test]
fn the_released_heads_are_those_of_the_recorded_configuration() {
    let real = &json(FIXTURE, "config.json")["real_model"];
    let written: OpenClipConfig = serde_json::from_value(real.clone()).unwrap();
    assert_eq!(
        Config::from(written),
        Config::from(OpenClipConfig::default())
    );
}
