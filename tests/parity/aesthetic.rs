//! Aesthetic predictor v2.5 against the original, on a small random SigLIP and head in their own
//! files.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use ttsvar::{
    hub,
    image::{Filter, Resize},
    models::siglip::{Config, SiglipVision},
    nn::{Dtype, Weights},
    scorers::Aesthetic,
    search::{Image, Scorer},
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, numbered, tensors, values,
};

const FIXTURE: &str = "aesthetic-tiny";
const PIXELS: f32 = 1e-5;
const EMBEDDINGS: f32 = 3e-4;
const LOGITS: f32 = 2e-3;

struct Fixture {
    siglip: Weights,
    head: Weights,
    config: Config,
    images: Vec<Image>,
    tensors: HashMap<String, Tensor>,
}

fn fixture() -> Fixture {
    let open = |name: &str| {
        let source = hub::open(golden(FIXTURE).join(name), &[]).unwrap();
        Weights::new(source, Dtype::F32, &Device::Cpu)
    };
    let names: Vec<String> =
        serde_json::from_value(json(FIXTURE, "golden.json")["images"].clone()).unwrap();
    Fixture {
        siglip: open("siglip"),
        head: open("aesthetic_predictor_v2_5.pth"),
        config: serde_json::from_value(json(FIXTURE, "siglip/config.json")).unwrap(),
        images: names
            .iter()
            .map(|name| ttsvar::image::open(golden(FIXTURE).join(name)).unwrap())
            .collect(),
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

impl Fixture {
    fn scorer(&self) -> Aesthetic {
        Aesthetic::load(&self.siglip, &self.config, &self.head).unwrap()
    }
}

#[test]
fn parity_aesthetic_tiny_features() {
    let fixture = fixture();
    let Fixture {
        siglip,
        config,
        images,
        tensors,
        ..
    } = &fixture;
    let model = SiglipVision::load(&siglip.pp("vision_model"), &config.vision_config).unwrap();
    for (name, i, expected) in numbered(tensors, "resized_u8_", "") {
        let resized = images[i].resize(model.side(), model.side(), Filter::Bicubic);
        let expected = expected.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert_bytes_close(name, resized.pixels(), &expected, 0.);
    }
    let scorer = fixture.scorer();
    let pixels = scorer.pixels(images).unwrap();
    let (embedded, hidden) = (
        model.embed(&pixels).unwrap(),
        model.forward(&pixels).unwrap(),
    );
    let of_pictures = [
        ("pixel_values_", &pixels, PIXELS),
        ("patch_embed_plus_pos_", &embedded, EMBEDDINGS),
        ("last_hidden_post_layernorm_", &hidden, EMBEDDINGS),
    ];
    for (before, found, limit) in of_pictures {
        for (name, i, expected) in numbered(tensors, before, "") {
            assert_close(name, &found.get(i).unwrap(), expected, limit, 0.);
        }
    }
    let pooled = model.pooled(&hidden).unwrap();
    assert_close(
        "image_embeds",
        &pooled,
        &tensors["image_embeds"],
        EMBEDDINGS,
        0.,
    );
    let features = scorer.features(&pixels).unwrap();
    assert_close(
        "image_embeds_norm",
        &features,
        &tensors["image_embeds_norm"],
        EMBEDDINGS,
        0.,
    );
}

#[test]
fn parity_aesthetic_tiny_scores() {
    let fixture = fixture();
    let scorer = fixture.scorer();
    let scores = scorer.score("whatever", &fixture.images).unwrap();
    assert_values_close(
        "logits",
        &scores,
        &values(&fixture.tensors["logits"]),
        LOGITS,
        0.,
    );
    let tenths: Vec<f32> = scores.iter().map(|score| score / 10.0).collect();
    assert_values_close(
        "tts_var_score",
        &tenths,
        &values(&fixture.tensors["tts_var_score"]),
        LOGITS / 10.0,
        0.,
    );
    for (image, score) in fixture.images.iter().zip(&scores) {
        let alone = scorer.score("", std::slice::from_ref(image)).unwrap();
        assert_eq!(alone[0].to_bits(), score.to_bits(), "alone and in company");
    }
    assert!(scorer.score("a", &[]).unwrap().is_empty());
}

#[test]
fn every_tensor_is_known_but_those_of_the_other_half() {
    let fixture = fixture();
    fixture.scorer();
    let other = [
        "text_model.",
        "logit_scale",
        "logit_bias",
        "vision_model.embeddings.position_ids",
    ];
    let mut unread = fixture.siglip.unread();
    unread.retain(|name| !other.iter().any(|known| name.starts_with(known)));
    assert!(unread.is_empty(), "{unread:?}");
    assert!(
        fixture.head.unread().is_empty(),
        "{:?}",
        fixture.head.unread()
    );
}
