//! ImageReward against the official classes, on small random weights in their own file.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use ttsvar::{
    hub,
    image::{Filter, Resize},
    models::blip::{TextConfig, TextEncoder, VisualEncoder},
    nn::{Dtype, Weights},
    scorers::ImageReward,
    search::{Image, Scorer},
    text::WordPieceTokenizer,
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, tensors, values,
};

const FIXTURE: &str = "imagereward-tiny";
const FEATURES: f32 = 2e-4;
const SCORES: f32 = 5e-4;

struct Fixture {
    weights: Weights,
    text: TextConfig,
    heads: Option<usize>,
    images: Vec<Image>,
    prompts: Vec<String>,
    golden: Value,
    tensors: HashMap<String, Tensor>,
}

fn fixture() -> Fixture {
    let (config, golden_json) = (json(FIXTURE, "config.json"), json(FIXTURE, "golden.json"));
    let source = hub::open(golden(FIXTURE).join("ImageReward.pt"), &[]).unwrap();
    let strings =
        |key: &str| -> Vec<String> { serde_json::from_value(golden_json[key].clone()).unwrap() };
    let open = |file: &String| ttsvar::image::open(golden(FIXTURE).join(file)).unwrap();
    Fixture {
        weights: Weights::new(source, Dtype::F32, &Device::Cpu),
        text: serde_json::from_value(json(FIXTURE, "med_config.json")).unwrap(),
        heads: config["vision_heads"].as_u64().map(|heads| heads as usize),
        images: strings("images").iter().map(open).collect(),
        prompts: strings("prompts"),
        golden: golden_json,
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

impl Fixture {
    fn scorer(&self, vocabulary: &str) -> ImageReward {
        let tokenizer =
            WordPieceTokenizer::open(&hub::Blob::Disk(golden(FIXTURE).join(vocabulary))).unwrap();
        ImageReward::load(&self.weights, &self.text, self.heads, tokenizer).unwrap()
    }

    fn visual_encoder(&self) -> VisualEncoder {
        VisualEncoder::load(&self.weights.pp("blip.visual_encoder"), self.heads).unwrap()
    }

    fn text_encoder(&self, vision_width: usize) -> TextEncoder {
        TextEncoder::load(
            &self.weights.pp("blip.text_encoder"),
            &self.text,
            vision_width,
        )
        .unwrap()
    }

    /// The recorded ids or mask of a prompt, padded.
    fn row(&self, tensor: &str, prompt: usize) -> Vec<u32> {
        self.tensors[tensor]
            .get(prompt)
            .unwrap()
            .to_dtype(DType::U32)
            .unwrap()
            .to_vec1()
            .unwrap()
    }
}

#[test]
fn parity_imagereward_tiny_image_embeddings() {
    let fixture = fixture();
    let (scorer, encoder) = (fixture.scorer("vocab.txt"), fixture.visual_encoder());
    let side = encoder.side();
    for (i, image) in fixture.images.iter().enumerate() {
        let cropped = image
            .resize_shorter_side(side, Filter::Bicubic)
            .center_crop(side, side);
        let expected = fixture.tensors["resized_cropped_u8"]
            .get(i)
            .unwrap()
            .flatten_all()
            .unwrap();
        assert_bytes_close(
            &format!("picture {i}"),
            cropped.pixels(),
            &expected.to_vec1::<u8>().unwrap(),
            0.,
        );
    }
    let pixels = scorer.pixels(&fixture.images).unwrap();
    let expected = &fixture.tensors["pixel_values"];
    assert_close(
        "pixel_values",
        &pixels.narrow(0, 0, expected.dims()[0]).unwrap(),
        expected,
        1e-5,
        0.,
    );
    let embeds = encoder.forward(&pixels).unwrap();
    let cls = embeds.narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
    assert_close(
        "image_embeds_cls",
        &cls,
        &fixture.tensors["image_embeds_cls"],
        FEATURES,
        0.,
    );
    for i in 0..fixture.images.len() {
        let name = format!("image_embeds_{i}");
        if let Some(expected) = fixture.tensors.get(&name) {
            assert_close(&name, &embeds.get(i).unwrap(), expected, FEATURES, 0.);
        }
    }
}

#[test]
fn parity_imagereward_tiny_prompt_with_padding() {
    let fixture = fixture();
    let (encoder, scorer) = (fixture.visual_encoder(), fixture.scorer("tokenizer.json"));
    let text = fixture.text_encoder(encoder.width());
    let (ids, mask) = (
        fixture.row("input_ids", 0),
        fixture.row("attention_mask", 0),
    );
    let embedded = text.embed(&ids).unwrap().squeeze(0).unwrap();
    let name = "text_embedding_output_p0";
    assert_close(name, &embedded, &fixture.tensors[name], FEATURES, 0.);
    let embeds = encoder
        .forward(&scorer.pixels(&fixture.images[..1]).unwrap())
        .unwrap();
    let hidden = text
        .forward(&text.prompt(&ids, &mask).unwrap(), &embeds)
        .unwrap()
        .squeeze(0)
        .unwrap();
    let name = "text_last_hidden_p0_i0";
    assert_close(name, &hidden, &fixture.tensors[name], FEATURES, 0.);
}

#[test]
fn parity_imagereward_tiny_scores() {
    let fixture = fixture();
    for vocabulary in ["vocab.txt", "tokenizer.json"] {
        let scorer = fixture.scorer(vocabulary);
        let pixels = scorer.pixels(&fixture.images).unwrap();
        for (p, prompt) in fixture.prompts.iter().enumerate() {
            let features = scorer
                .features(&scorer.prompt(prompt).unwrap(), &pixels)
                .unwrap();
            let expected = fixture.tensors["cls_feature"].get(p).unwrap();
            assert_close(
                &format!("cls_feature of prompt {p}"),
                &features,
                &expected,
                FEATURES,
                0.,
            );
            let scores = scorer.score(prompt, &fixture.images).unwrap();
            for name in ["scores", "score_gard_all"] {
                let expected = values(&fixture.tensors[name].get(p).unwrap());
                assert_values_close(
                    &format!("{name} of prompt {p}"),
                    &scores,
                    &expected,
                    SCORES,
                    0.,
                );
            }
            assert_eq!(
                serde_json::json!(places(&scores)),
                fixture.golden["inference_rank_ranks"][p],
                "ranks for prompt {p}"
            );
        }
    }
}

#[test]
fn every_tensor_is_known_but_those_that_rewards_do_not_need() {
    let fixture = fixture();
    fixture.scorer("vocab.txt");
    let mut unread = fixture.weights.unread();
    unread.retain(|name| {
        !["vision_proj", "text_proj", "position_ids"]
            .iter()
            .any(|known| name.contains(known))
    });
    assert!(unread.is_empty(), "{unread:?}");
}

/// The place of each score, 1 for the best.
fn places(scores: &[f32]) -> Vec<usize> {
    scores
        .iter()
        .map(|score| 1 + scores.iter().filter(|other| *other > score).count())
        .collect()
}

#[test]
fn an_image_scores_the_same_bits_alone_and_in_company() {
    let fixture = fixture();
    let scorer = fixture.scorer("vocab.txt");
    let mut images = fixture.images.clone();
    images.push(images[0].resize(300, 260, Filter::Bilinear));
    let prompt = &fixture.prompts[0];
    let together = scorer.score(prompt, &images).unwrap();
    for (image, score) in images.iter().zip(&together) {
        let alone = scorer.score(prompt, std::slice::from_ref(image)).unwrap();
        assert_eq!(alone[0].to_bits(), score.to_bits());
    }
    let many: Vec<Image> = images
        .iter()
        .cycle()
        .take(4 * images.len())
        .cloned()
        .collect();
    let expected: Vec<f32> = together.iter().cycle().take(many.len()).copied().collect();
    assert_eq!(scorer.score(prompt, &many).unwrap(), expected);
    assert!(scorer.score(prompt, &[]).unwrap().is_empty());
}
