//! CLIP against Hugging Face's, on small random weights.

use std::{collections::HashMap, sync::Arc};

use candle_core::{Device, Tensor};
use ttsvar::{
    features::ClipSpace,
    hub::{self, Blob},
    image::{Filter, Preprocess, Resize},
    models::clip::Clip,
    nn::{Dtype, Weights},
    scorers::{ClipScore, Definition, PickScore},
    search::{Image, Scorer},
    text::ClipTokenizer,
};

use crate::support::{
    assert_close, assert_values_close, golden, golden_json, json, numbered, tensors, triple, values,
};

const FIXTURE: &str = "clip-tiny";
const PIXELS: f32 = 1e-5;
const EMBEDDINGS: f32 = 3e-4;
const COSINES: f32 = 5e-5;

struct Fixture {
    weights: Weights,
    clip: Clip,
    tokenizer: ClipTokenizer,
    images: Vec<Image>,
    prompts: Vec<String>,
    tensors: HashMap<String, Tensor>,
}

fn tokenizer() -> ClipTokenizer {
    ClipTokenizer::open(&Blob::Disk(golden(FIXTURE).join("model/tokenizer.json"))).unwrap()
}

fn fixture() -> Fixture {
    let weights = Weights::new(
        hub::open(golden(FIXTURE).join("model"), &[]).unwrap(),
        Dtype::F32,
        &Device::Cpu,
    );
    let config = serde_json::from_value(json(FIXTURE, "model/config.json")).unwrap();
    let recorded = json(FIXTURE, "golden.json");
    let strings =
        |key: &str| -> Vec<String> { serde_json::from_value(recorded[key].clone()).unwrap() };
    Fixture {
        clip: Clip::load(&weights, &config).unwrap(),
        weights,
        tokenizer: tokenizer(),
        images: strings("images")
            .iter()
            .map(|name| ttsvar::image::open(golden(FIXTURE).join(name)).unwrap())
            .collect(),
        prompts: strings("prompts"),
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

fn normalised(x: &Tensor) -> Tensor {
    x.broadcast_div(&x.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap())
        .unwrap()
}

#[test]
fn parity_clip_tiny_texts() {
    let Fixture {
        clip,
        tokenizer,
        prompts,
        tensors,
        ..
    } = fixture();
    let masks = tensors["attention_mask"].to_vec2::<i64>().unwrap();
    let all = tensors["input_ids"].to_vec2::<i64>().unwrap();
    let mut embeds = vec![];
    for (p, prompt) in prompts.iter().enumerate() {
        let ids = tokenizer.encode(prompt).unwrap();
        let tokens = masks[p].iter().filter(|mask| **mask == 1).count();
        let expected: Vec<u32> = all[p][..tokens].iter().map(|id| *id as u32).collect();
        assert_eq!(ids, expected, "ids of prompt {p}");
        embeds.push(clip.embed_text(&ids).unwrap());
    }
    assert_close(
        "text_embeds",
        &Tensor::stack(&embeds, 0).unwrap(),
        &tensors["text_embeds"],
        EMBEDDINGS,
        0.,
    );
    // The rows of the recording's padding say nothing; here a prompt is not padded.
    for (name, p, expected) in numbered(&tensors, "text_last_hidden_p", "") {
        let hidden = clip
            .text_model
            .forward(&tokenizer.encode(&prompts[p]).unwrap())
            .unwrap()
            .squeeze(0)
            .unwrap();
        assert_close(
            name,
            &hidden,
            &expected.narrow(0, 0, hidden.dims()[0]).unwrap(),
            EMBEDDINGS,
            0.,
        );
    }
    for (name, p, expected) in numbered(&tensors, "text_pooled_p", "") {
        let pooled = clip
            .text_model
            .pooled(&tokenizer.encode(&prompts[p]).unwrap())
            .unwrap()
            .squeeze(0)
            .unwrap();
        assert_close(name, &pooled, expected, EMBEDDINGS, 0.);
    }
}

#[test]
fn parity_clip_tiny_images() {
    let Fixture {
        clip,
        images,
        tensors,
        weights,
        ..
    } = fixture();
    let space = ClipSpace::new(clip.clone(), tokenizer(), Preprocess::CLIP).unwrap();
    let pixels = space.pixels(&images).unwrap();
    let expected = &tensors["pixel_values"];
    assert_close(
        "pixel_values",
        &pixels.narrow(0, 0, expected.dims()[0]).unwrap(),
        expected,
        PIXELS,
        0.,
    );
    for (name, i, expected) in numbered(&tensors, "pixel_values_torchvision_img", "") {
        assert_close(name, &pixels.get(i).unwrap(), expected, PIXELS, 0.);
    }
    let hidden = clip.vision_model.forward(&pixels).unwrap();
    for (name, i, expected) in numbered(&tensors, "vision_last_hidden_img", "") {
        assert_close(name, &hidden.get(i).unwrap(), expected, EMBEDDINGS, 0.);
    }
    let pooled = clip.vision_model.pooled(&hidden).unwrap();
    for (name, i, expected) in numbered(&tensors, "vision_pooled_img", "") {
        assert_close(name, &pooled.get(i).unwrap(), expected, EMBEDDINGS, 0.);
    }
    let embeds = clip.embed_images(&pixels).unwrap();
    assert_close(
        "image_embeds",
        &embeds,
        &tensors["image_embeds"],
        EMBEDDINGS,
        0.,
    );
    let texts = normalised(&tensors["text_embeds"]);
    let cosine = texts
        .matmul(&normalised(&embeds).t().unwrap().contiguous().unwrap())
        .unwrap();
    assert_close("cosine", &cosine, &tensors["cosine"], COSINES, 0.);
    let unread: Vec<String> = weights
        .unread()
        .into_iter()
        .filter(|name| !name.ends_with("position_ids"))
        .collect();
    assert_eq!(unread, ["logit_scale"], "tensors that nothing reads");
    let scale = weights.get((), "logit_scale").unwrap();
    assert_close(
        "logit_scale",
        &scale.reshape(1).unwrap(),
        &tensors["logit_scale"],
        1e-6,
        0.,
    );
    let factor = values(&scale)[0].exp();
    let logits = (cosine * f64::from(factor)).unwrap();
    assert_close(
        "logits_per_text",
        &logits,
        &tensors["logits_per_text"],
        factor * COSINES,
        0.,
    );
}

/// The processor of Hugging Face cuts an odd rest otherwise than OpenAI's program, which is
/// followed here.
#[test]
fn parity_clip_tiny_images_as_hugging_face_cuts_them() {
    let Fixture {
        clip,
        images,
        tensors,
        ..
    } = fixture();
    let config = json(FIXTURE, "model/preprocessor_config.json");
    let (mean, std) = (triple(&config["image_mean"]), triple(&config["image_std"]));
    let side = clip.vision_model.side();
    let cut = |image: &Image| {
        let resized = image.resize_shorter_side(side, Filter::Bicubic);
        let (left, top) = ((resized.width() - side) / 2, (resized.height() - side) / 2);
        resized.crop(left, top, side, side).to_chw(mean, std)
    };
    let planes: Vec<f32> = images.iter().flat_map(cut).collect();
    let pixels = Tensor::from_vec(planes, (images.len(), 3, side, side), &Device::Cpu).unwrap();
    for (name, i, expected) in numbered(&tensors, "pixel_values_hf_processor_img", "") {
        assert_close(name, &pixels.get(i).unwrap(), expected, PIXELS, 0.);
    }
    let name = "image_embeds_hf_processor";
    assert_close(
        name,
        &clip.embed_images(&pixels).unwrap(),
        &tensors[name],
        EMBEDDINGS,
        0.,
    );
}

#[test]
fn parity_clip_tiny_scores() {
    let Fixture {
        clip,
        images,
        prompts,
        tensors,
        ..
    } = fixture();
    let space = Arc::new(ClipSpace::new(clip, tokenizer(), Preprocess::CLIP).unwrap());
    let definitions = [
        (Definition::Cosine, "cosine", COSINES),
        (Definition::Percent, "clip_score_100", 100.0 * COSINES),
        (Definition::Hessel, "clip_score_2_5", 2.5 * COSINES),
    ];
    for (definition, name, limit) in definitions {
        let scorer = ClipScore::new(space.clone(), definition);
        for (p, prompt) in prompts.iter().enumerate() {
            let scores = scorer.score(prompt, &images).unwrap();
            let expected = values(&tensors[name].get(p).unwrap());
            assert_values_close(
                &format!("{name} of prompt {p}"),
                &scores,
                &expected,
                limit,
                0.,
            );
        }
    }
    let scorer = ClipScore::new(space, Definition::Cosine);
    let together = scorer.score(&prompts[0], &images).unwrap();
    for (image, score) in images.iter().zip(together) {
        let alone = scorer
            .score(&prompts[0], std::slice::from_ref(image))
            .unwrap();
        assert_eq!(alone[0].to_bits(), score.to_bits(), "alone and in company");
    }
}

#[test]
fn parity_clip_tiny_texts_as_openai_splits_them() {
    let Fixture {
        clip,
        prompts,
        tensors,
        ..
    } = fixture();
    let all = tensors["input_ids_openai"].to_vec2::<i64>().unwrap();
    for vocabulary in ["merges.txt", "bpe_simple_vocab.txt.gz", "tokenizer.json"] {
        let path = golden(FIXTURE).join("model").join(vocabulary);
        let tokenizer = ClipTokenizer::open_clip(&Blob::Disk(path)).unwrap();
        let mut embeds = vec![];
        for (prompt, padded) in prompts.iter().zip(&all) {
            let ids = tokenizer.encode(prompt).unwrap();
            let mut expected: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            expected.resize(ClipTokenizer::MAX_TOKENS, 0);
            assert_eq!(&expected, padded, "{vocabulary}: ids of {prompt:?}");
            embeds.push(clip.embed_text(&ids).unwrap());
        }
        let embeds = Tensor::stack(&embeds, 0).unwrap();
        assert_close(
            "text_embeds_openai",
            &embeds,
            &tensors["text_embeds_openai"],
            EMBEDDINGS,
            0.,
        );
    }
}

/// The softmax over the images of one prompt, which the recording calls the probability of an image.
fn softmax(scores: &[f32]) -> Vec<f32> {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

#[test]
fn parity_clip_tiny_pickscore_scores() {
    let Fixture {
        clip,
        images,
        weights,
        prompts,
        ..
    } = fixture();
    let recorded = golden_json("clip-tiny-pickscore.json");
    let limit = |what: &str| recorded["tolerance"][what].as_f64().unwrap() as f32;
    let rows =
        |what: &str| -> Vec<Vec<f32>> { serde_json::from_value(recorded[what].clone()).unwrap() };
    let space = ClipSpace::new(clip, tokenizer(), Preprocess::CLIP_PROCESSOR).unwrap();
    let scorer = PickScore::load(&weights, space).unwrap();
    for (p, prompt) in prompts.iter().enumerate() {
        assert_eq!(recorded["prompts"][p], prompt.as_str());
        let scores = scorer.score(prompt, &images).unwrap();
        let cosines = scorer.cosines(prompt, &images).unwrap();
        let shares = softmax(&scores);
        for (what, found) in [
            ("cosine", cosines),
            ("scores", scores),
            ("softmax_over_images", shares),
        ] {
            let name = format!("{what} of prompt {p}");
            assert_values_close(&name, &found, &rows(what)[p], limit(what), 0.);
        }
    }
    let unread: Vec<String> = weights
        .unread()
        .into_iter()
        .filter(|name| !name.ends_with("position_ids"))
        .collect();
    assert!(unread.is_empty(), "tensors that nothing reads: {unread:?}");
}
